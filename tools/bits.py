"""Checks that two versions of Medley compute the same bits, before and after a refactor.

python tools/bits.py --against REV     # a git revision, which is checked out into another folder and runs the same code
python tools/bits.py --record FILE     # writes the results of this tree as JSON

Trains every model that the tree has for three epochs on a small simulated data set, some with options of their papers
too, and LightGCN, EgoGCN and DualGNN on TikTok if the data is there. Compares the hashes of all parameters (whatever
their names), the losses and validation metrics, the test metrics with their fingerprints, and some recommendations
exactly, and parts of scores up to 1e-4. Uses the public names of `medley`, which old revisions have too.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "lightgcn": [{"num_layers": 0}, {"num_layers": 1}],
    "mmgcn": [
        {"aggregation": "max"},
        {"combination": "concat", "use_id": False},
        {"use_id": False},
        {"num_layers": 1, "modalities": ["visual"]},
    ],
    "ludp": [
        {"fusion": "sum"},
        {"fusion": "concat", "normalisation": "symmetric"},
        {"use_user_graph": False},
        {"use_item_graph": False, "num_item_layers": 2},
    ],
    "dualgnn": [
        {"construction": "mean"},
        {"construction": "max", "unit_input": True},
        {"construction": "concat", "projection": "mlp"},
        {"num_user_layers": 0, "aggregation": "mean"},
    ],
    "egogcn": [
        {"fusion": "hard", "epsilon": 0.4},
        {"fusion": "merge", "self_loops": True},
        {"fusion": "align"},
        {"fusion": "none"},
        {"soft_pruning": True},
        {"fusion": "hard", "soft_pruning": True, "unit_layers": False, "num_layers": 3},
    ],
    "huign": [{"levels": [16]}, {"dim": 0}, {"entropy_reg": 0.0, "independence_reg": 0.0}, {"random_features": True}],
    "itemknn": [{"similarity": "content"}],
    "macridvae": [{"use_content": True}],
    "grcn": [{"fusion": "id"}],
}
ON_TIKTOK = {"lightgcn": 3, "egogcn": 2, "dualgnn": 2}  # model -> epochs
USERS = 5
CLOSE = 1e-4


def record(real: Path | None) -> dict[str, Any]:
    """Trains and evaluates with the imported `medley`: label -> figures."""
    import medley
    from medley import models
    from medley.data.simulate import preset

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        shape = preset("demo", num_users=120, num_items=160, num_interactions=3000, num_clusters=8)
        small = medley.simulate(Path(folder) / "small", settings=shape, seed=1)
        for name in models.names():
            for options in [{}, *VARIANTS.get(name, [])]:
                label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
                results[label] = _measure(name, small, options, num_epochs=3, batch_size=256)
        if real is not None and (real / "tiktok").is_dir():
            tiktok = medley.import_dataset("csv", real / "tiktok", Path(folder) / "tiktok", name="tiktok")
            for name, num_epochs in ON_TIKTOK.items():
                results[f"{name} on tiktok"] = _measure(name, tiktok, {}, num_epochs=num_epochs)
    return results


def _measure(name: str, data: Any, options: dict[str, Any], **settings: Any) -> dict[str, Any]:
    import medley

    model = medley.build(name, data, **options)
    history = medley.fit(model, data, progress=False, **settings)
    evaluation = medley.evaluate(model, data, split="test", groups=True)
    hashes = sorted(hashlib.sha256(p.detach().numpy().tobytes()).hexdigest() for p in model.parameters())
    users = [data.users.raw_id(row) for row in range(USERS)]
    lists = [medley.recommend(model, data, user=user, k=5, explain=True) for user in users]
    return {
        "parameters": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "epochs": [[epoch.loss, epoch.metric] for epoch in history.epochs],
        "metrics": {key: None if value != value else value for key, value in evaluation.metrics.items()},
        "fingerprint": evaluation.fingerprint,
        "recommended": [[[item.item, item.score] for item in items] for items in lists],
        "parts": [[item.parts for item in items] for items in lists],
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Describes all differences in words."""
    found = [f"{label}: only in one of them" for label in before.keys() ^ after.keys()]
    for label in before.keys() & after.keys():
        one, two = before[label], after[label]
        found += [f"{label}: {what} differs" for what in one if what != "parts" and one[what] != two[what]]
        found += [f"{label}: parts differ"] if not _close(one["parts"], two["parts"]) else []
    return sorted(found)


def _close(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_close(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(_close, one, two))
    return abs(one - two) <= CLOSE * max(1, abs(one))


def _record_with(source: Path, real: Path, out: Path) -> dict[str, Any]:
    """Runs this file with the package in `source`, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([sys.executable, __file__, "--record", str(out), "--data", str(real)], env=environment, check=True)
    return json.loads(out.read_text())


def main() -> None:
    """Parses arguments, records or compares; the exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REV", help="a git revision, or a file that --record wrote")
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds tiktok/")
    chosen = parser.parse_args()
    if chosen.record:
        chosen.record.write_text(json.dumps(record(chosen.data)))
        return
    if not chosen.against:
        parser.error("--against REV or --record FILE")
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        if Path(chosen.against).is_file():
            before = json.loads(Path(chosen.against).read_text())
        else:
            tree = Path(folder) / "tree"
            subprocess.run(["git", "worktree", "add", "--detach", str(tree), chosen.against], cwd=root, check=True)
            try:
                before = _record_with(tree / "src", chosen.data, Path(folder) / "before.json")
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=root, check=True)
        after = _record_with(root / "src", chosen.data, Path(folder) / "after.json")
    found = differences(before, after)
    print("\n".join(found) or f"{len(after)} trainings: the same bits")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
