"""Runs a declared study on a data set and writes its results into a folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.experiments.declaration import Declaration, load
from medley.experiments.results import Results
from medley.experiments.scheduler import Resources
from medley.experiments.splits import resplit
from medley.experiments.store import Protocol
from medley.experiments.study import Study
from medley.experiments.watch import Watch
from medley.version import versions


def run_study(
    study: Declaration | str | Path,
    data: Dataset,
    *,
    out: str | Path,
    runs: str | Path | None = None,
    seeds: int | None = None,
    quick: bool = False,
    resources: Resources | None = None,
    watch: Watch | None = None,
) -> Results:
    """Runs a study on a data set and writes its results into a folder.

    Args:
        study: a declaration, the name of a study that Medley ships, or the path of a .toml or .py file.
        data: any data set; entries that do not apply to it are named with the reason.
        out: the folder of the results.
        runs: the folder of the runs, which studies share; by default `runs`, beside `out`.
        seeds: number of seeds; by default that of the study.
        quick: two epochs, small vectors, at most two points per grid and two seeds: shows that a study runs, not more.
        resources: see `Resources`.
        watch: is told what happens; nothing is shown by default.

    Raises:
        InputError: an error in the study, or no entry applies to the data.
        KeyboardInterrupt: the study was stopped; the same call goes on where it was.
    """
    study = study if isinstance(study, Declaration) else load(study)
    out = Path(out)
    runs = out.parent / "runs" if runs is None else Path(runs)
    watch = watch or Watch()
    if seeds is not None and seeds < 1:
        raise InputError("seeds", expected="1 or more", got=seeds)
    num_seeds = seeds or (min(study.seeds, 2) if quick else study.seeds)
    skipped: dict[str, str] = {}
    datasets = _splits(study, data, runs, skipped, watch)
    candidates = _candidates(study, data, skipped, watch, quick=quick)
    entries, left_out = study.expand(list(data.manifest.modalities))
    for label, reason in left_out.items():
        watch.note(f"{label} does not apply: {reason}")
    protocols = [
        Protocol(tuple(study.at), each, study.groups, tuple(study.metrics), study.beyond, history)
        for each in candidates
        for history in study.histories
    ]
    inner = Study(datasets, runs, seeds=range(num_seeds), protocols=protocols, resources=resources, watch=watch)
    found = inner.run([entry.quick() for entry in entries] if quick else entries)
    if not found.results:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in [*left_out.items(), *found.skipped.items()][:3])
        raise InputError(f"study {study.name}", expected="entries that apply to the data", got=reasons or "none")
    results = Results(
        study=study.model_dump(mode="json"),
        data=_described(data, datasets),
        entries=found.results,
        skipped={**skipped, **left_out, **found.skipped},
        made_by={
            "command": f"medley study {study.name} DATASET{' --quick' if quick else ''} --seeds {num_seeds}",
            "seeds": list(range(num_seeds)),
            "quick": quick,
            "versions": versions(),
            "threads": inner.resources.threads_each,
        },
    )
    results.save(out)
    return results


def _splits(study: Declaration, data: Dataset, runs: Path, skipped: dict[str, str], watch: Watch) -> dict[str, Dataset]:
    datasets = {}
    for split in study.splits:
        try:
            datasets[split] = resplit(data, split, runs / "data")
        except InputError as error:
            skipped[f"{split} split"] = str(error)
            watch.note(f"{split} split does not apply: {error}")
    if not datasets:
        raise InputError(f"study {study.name}", got="; ".join(f"{name}: {why}" for name, why in skipped.items()))
    return datasets


def _candidates(study: Declaration, data: Dataset, skipped: dict[str, str], watch: Watch, *, quick: bool) -> list[str]:
    """Returns the kinds of candidates that differ on this data set; a sample as large as the catalogue is left out."""
    num_items, chosen = data.manifest.num_items, []
    for each in study.candidates:
        number = re.search(r"\d+", each)
        if number is None or int(number[0]) < num_items:
            chosen.append(each)
        elif quick:
            chosen.append(each.replace(number[0], str(max(1, num_items // 2))))
        else:
            skipped[each] = f"the data set has {num_items:,} items, so all of them would be drawn"
            watch.note(f"{each} does not apply: {skipped[each]}")
    if not chosen:
        raise InputError(f"study {study.name}", expected="candidates that apply", got=str(skipped))
    return list(dict.fromkeys(chosen))


def _described(data: Dataset, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    manifest = data.manifest
    return {
        "name": manifest.name,
        "num_users": manifest.num_users,
        "num_items": manifest.num_items,
        "modalities": {name: record.dim for name, record in manifest.modalities.items()},
        "splits": {
            split: {
                "num_interactions": one.manifest.num_interactions,
                "split_hash": one.manifest.split_hash,
                "parts": one.manifest.parts,
            }
            for split, one in datasets.items()
        },
    }
