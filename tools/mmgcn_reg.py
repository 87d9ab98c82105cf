"""How much `reg` does MMGCN bear? Validation Recall@20 by `reg`, all other settings fixed.

python tools/mmgcn_reg.py --data ../shared/data

Trains on the demo's catalogue, and on TikTok and LastFM (lfm2k) where they are under --data; prints a Markdown table.
One thread and one seed, so two runs give the same figures. Test is not read.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fold_in_page import demo, lfm2k  # beside this file

import medley

SETTINGS: dict[str, Any] = {"dim": 64, "num_layers": 2, "lr": 1e-3, "num_epochs": 100, "patience": 10}
REGS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)
METRIC = "recall@20"
CHANGES: Mapping[str, Mapping[str, Any]] = {"tiktok": {"num_epochs": 15}}  # an epoch takes seconds


def tiktok(data: Path, out: Path) -> medley.Dataset:
    """TikTok in its public split."""
    return medley.import_dataset("csv", data / "tiktok", out / "tiktok", name="tiktok")


DATA_SETS: dict[str, Callable[[Path, Path], medley.Dataset]] = {"demo": demo, "lfm2k": lfm2k, "tiktok": tiktok}


def main() -> None:
    """Parses, trains, prints a row as soon as a data set is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where TikTok and lfm2k are")
    parser.add_argument("--only", nargs="+", choices=DATA_SETS, default=list(DATA_SETS), help="these data sets alone")
    parser.add_argument("--reg", nargs="+", type=float, default=REGS, help="values that are tried")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| validation {METRIC} | popularity | {' | '.join(f'reg {reg:g}' for reg in chosen.reg)} |")
    print(f"|---|{'---:|' * (1 + len(chosen.reg))}", flush=True)
    for name in chosen.only:
        if name != "demo" and not (chosen.data / name).is_dir():
            print(f"| {name}: not in {chosen.data} |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            data = DATA_SETS[name](chosen.data, Path(folder))
            settings = {**SETTINGS, **CHANGES.get(name, {}), "metric": METRIC, "seed": chosen.seed}
            print(f"| {name} | {_popularity(data):.3f} |", end="", flush=True)
            for reg in chosen.reg:
                history = medley.train("mmgcn", data, reg=reg, progress=False, **settings).history
                print(f" {history.best:.3f} (epoch {history.best_epoch}) |", end="", flush=True)
            print()


def _popularity(data: medley.Dataset) -> float:
    return medley.evaluate(medley.build("popularity", data), data, split="valid", at=(20,)).metrics[METRIC]


if __name__ == "__main__":
    main()
