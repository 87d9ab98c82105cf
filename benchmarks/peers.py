"""Seconds per epoch of libraries from PyPI on the same train interactions, each in its own environment.

    python benchmarks/peers.py --data ../shared/data/tiktok --install  # makes .venv-peers/<library>
    python benchmarks/peers.py --data ../shared/data/tiktok

All models have 64 dimensions and the threads of the machine; graph models have three layers and batches of 2048.
implicit's and Cornac's BPR take one triplet at a time in compiled code and have no batches. Cornac's graph models need
DGL, which has no build for this torch, so they are not timed. Rounds are interleaved: one process of each library in
turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ENVIRONMENTS = Path(".venv-peers")
REQUIREMENTS = {
    "implicit": ["implicit==0.7.3"],
    "cornac": ["cornac==3.0.1", "torch==2.13.0"],
    "recbole": ["recbole==1.2.1", "torch==2.13.0", "numpy<2", "scipy<1.11", "pandas<3", "setuptools<81"],
}
MODELS = {
    "medley": ["mf", "vbpr", "lightgcn", "ngcf"],
    "implicit": ["bpr"],
    "cornac": ["bpr"],
    "recbole": ["BPR", "LightGCN", "NGCF"],
}
EPOCHS = 3  # per process; the first is warm-up


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--install", action="store_true", help="make the environments, then stop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("LIBRARY", "MODEL"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        library, model = chosen.one
        print(json.dumps(TIMERS[library](model, pairs(chosen.data))))
        return
    if chosen.install:
        install()
        return
    seconds: dict[tuple[str, str], list[float]] = {}
    failures: dict[tuple[str, str], str] = {}
    for _ in range(chosen.rounds):
        for library, names in MODELS.items():
            python = sys.executable if library == "medley" else str(ENVIRONMENTS / library / "bin/python")
            if not Path(python).exists():
                continue
            for model in names:
                command = [python, __file__, "--data", str(chosen.data), "--one", library, model]
                done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
                if done.returncode:
                    failures[library, model] = done.stderr.strip().splitlines()[-1]
                else:
                    seconds.setdefault((library, model), []).extend(json.loads(done.stdout.splitlines()[-1]))
    print("| library | model | s/epoch, median (min, max) |\n|---|---|---:|")
    for (library, model), values in seconds.items():
        print(f"| {library} | {model} | {statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f}) |")
    for (library, model), problem in failures.items():
        print(f"| {library} | {model} | {problem} |")


def environment() -> dict[str, str]:
    """Returns the environment variables without the packages of this environment."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def install() -> None:
    """Makes one environment per library, unless it exists."""
    for library, requirements in REQUIREMENTS.items():
        folder = ENVIRONMENTS / library
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin/pip"), "install", "--quiet", "--prefer-binary", *requirements]
            subprocess.run(pip, check=True)


def pairs(folder: Path) -> np.ndarray:
    """Reads users and items of train, (n, 2) int64."""
    return np.loadtxt(folder / "train.csv", delimiter=",", skiprows=1, dtype=np.int64, usecols=(0, 1))


def of_medley(model: str, train: np.ndarray) -> list[float]:
    """Times a model of Medley."""
    from medley import models
    from medley.data.dataset import Dataset
    from medley.data.importing import import_dataset
    from training import Trainee

    layers = {"num_layers": 3} if model in ("lightgcn", "ngcf") else {}
    with tempfile.TemporaryDirectory() as folder:
        data: Dataset = import_dataset("csv", Path(sys.argv[sys.argv.index("--data") + 1]), Path(folder) / "data")
        trainee = Trainee(models.build(model, data.inputs(), **layers).train(), data, 2048)
        return [trainee() for _ in range(EPOCHS)][1:]


def of_implicit(model: str, train: np.ndarray) -> list[float]:
    """Times BPR of implicit, by the difference of a long and a short fit."""
    import scipy.sparse as sp
    from implicit.bpr import BayesianPersonalizedRanking

    matrix = sp.csr_matrix((np.ones(len(train), dtype=np.float32), train.T))
    more = 10  # an epoch takes milliseconds

    def fit(epochs: int) -> None:
        BayesianPersonalizedRanking(factors=64, iterations=epochs, random_state=0).fit(matrix, show_progress=False)

    return beyond_the_first(fit, more)


def of_cornac(model: str, train: np.ndarray) -> list[float]:
    """Times BPR of Cornac, by the difference of a long and a short fit."""
    import cornac

    data = cornac.data.Dataset.from_uir([(int(user), int(item), 1.0) for user, item in train], seed=0)

    def fit(epochs: int) -> None:
        cornac.models.BPR(k=64, max_iter=epochs, num_threads=os.cpu_count(), seed=0, verbose=False).fit(data)

    return beyond_the_first(fit, 10)


def beyond_the_first(fit: Callable[[int], None], more: int) -> list[float]:
    """Returns seconds per epoch: those of 1 + more epochs less those of one, divided by more."""
    fit(1)
    begin = time.perf_counter()
    fit(1)
    middle = time.perf_counter()
    fit(1 + more)
    end = time.perf_counter()
    return [((end - middle) - (middle - begin)) / more]


def of_recbole(model: str, train: np.ndarray) -> list[float]:
    """Times a model of RecBole with RecBole's trainer, epoch by epoch."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes logs into the working directory
        (Path(folder) / "tiktok").mkdir()
        lines = ["user_id:token\titem_id:token", *(f"{user}\t{item}" for user, item in train)]
        (Path(folder) / "tiktok/tiktok.inter").write_text("\n".join(lines) + "\n")
        settings = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id"]},
            "embedding_size": 64,
            "n_layers": 3,
            "hidden_size_list": [64, 64, 64],
            "train_batch_size": 2048,
            "use_gpu": False,
            "state": "ERROR",
            "show_progress": False,
            "checkpoint_dir": folder,
            "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "RO", "group_by": "none", "mode": "full"},
        }
        arguments, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line
        config = Config(model=model, dataset="tiktok", config_dict=settings)
        sys.argv = arguments
        init_seed(0, True)
        dataset = create_dataset(config)
        loader, _, _ = data_preparation(config, dataset)
        built = get_model(model)(config, loader.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, built)
        seconds = []
        for epoch in range(EPOCHS):
            begin = time.perf_counter()
            trainer._train_epoch(loader, epoch)
            seconds.append(time.perf_counter() - begin)
        return seconds[1:]


TIMERS: dict[str, Callable[[str, np.ndarray], list[float]]] = {
    "medley": of_medley,
    "implicit": of_implicit,
    "cornac": of_cornac,
    "recbole": of_recbole,
}

if __name__ == "__main__":
    main()
