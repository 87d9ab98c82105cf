"""Writes docs/results/tastes.md, for `make tastes`.

python tools/tastes_page.py --out docs/results/tastes.md
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medley import models
from medley.data.simulate import SimulationSettings, preset, simulate
from medley.evaluation.statistics import Spread, spread
from medley.experiments.studies.tastes import (
    CLEAR,
    DIM,
    GRID,
    LR,
    OPTIONS,
    TRAINING,
    Recovery,
    Reference,
    recover,
    reference,
)
from medley.files import write_atomic
from medley.version import listed, versions


def run_tastes(names: Sequence[str], seeds: Sequence[int], settings: SimulationSettings) -> str:
    """Trains every model on one catalogue per seed. Returns the page in Markdown."""
    references: list[Reference] = []
    recoveries: dict[str, list[Recovery]] = {name: [] for name in names}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            data = simulate(Path(folder) / "data", settings=settings, seed=seed)
            references.append(reference(data))
            for name in names:
                options, training = {"dim": DIM, **OPTIONS[name]}, {"lr": LR[name]}
                recoveries[name].append(recover(name, data, seed=seed, options=options, training=training))
                print(f"seed {seed}: {name} {recoveries[name][-1]}", flush=True)
    return page(references, recoveries, seeds, settings)


def page(
    references: Sequence[Reference],
    recoveries: Mapping[str, Sequence[Recovery]],
    seeds: Sequence[int],
    settings: SimulationSettings,
) -> str:
    """Returns the page in Markdown: means and sample standard deviations over the seeds."""

    def column(field: str, of: Sequence[Any]) -> Spread | None:
        values = [getattr(each, field) for each in of]
        return None if None in values else spread(values)

    lines = []
    for name, each in recoveries.items():
        cells = [str(column(field, each) or "-") for field in ("margin", "clear", "own", "random", "recall")]
        lines.append(f"| {models.describe(name)['title']} | {' | '.join(cells)} |")
    chance, clear = column("chance", references), column("clear_chance", references)
    chosen = []
    for name in recoveries:
        settings_of_model = ", ".join(f"{key}={value}" for key, value in (OPTIONS[name] | {"lr": LR[name]}).items())
        chosen.append(
            f"| {models.describe(name)['title']} | {settings_of_model} | {GRID[name]}, lr in {{3e-3, 1e-2}} |"
        )
    by_seed = "; ".join(
        f"{models.describe(name)['title']} {', '.join(f'{one.margin:.3f}' for one in each)}"
        for name, each in recoveries.items()
    )
    return "\n".join(
        [
            "# Planted tastes",
            "",
            "Made by `make tastes` (`python tools/tastes_page.py --out docs/results/tastes.md`).",
            "",
            "Do models find out which modality a user cares for most? On a simulated catalogue the answer is known. "
            "Shares of all users whose strongest planted modality was found, mean ± sample standard deviation over "
            f"{len(seeds)} seeds; each seed is another catalogue, other initial parameters and other batches.",
            "",
            "| model | by margin | clear tastes | by its own weights | random features | test R@20 |",
            "|---|---:|---:|---:|---:|---:|",
            *lines,
            f"| chance | {chance} | {clear} | {chance} | {chance} | |",
            f"| planted clusters | {column('clusters', references)} | | | | |",
            "",
            f"By margin, seed by seed: {by_seed}.",
            "",
            "- *By margin*: the modality whose part of the score has the largest mean over the user's train items less "
            "that over all items; both means over the items that have the modality. It depends on the model and "
            "the train split alone, and is the same for all models: `medley.serving.explain`, shown by "
            "`medley recommend --explain`.",
            f"- *Clear tastes*: by margin, among users whose strongest planted weight is {CLEAR:.2f} or more.",
            "- *By its own weights*: DualGNN's alpha, LUDP's attention beta. They scale vectors whose lengths are "
            "learned too, so the largest need not be the modality that matters most.",
            "- *Random features*: by margin, after training on N(0, 1) values in place of the features. These shares "
            "come from the interactions alone; the rest comes from the content.",
            "- *Chance*: naming the most frequent strongest modality for everybody.",
            "- *Planted clusters*: the modality in which most of a user's train items lie in clusters that the user "
            "likes. It needs the truth behind the features, and is about the limit for so few interactions.",
            "",
            "## Settings",
            "",
            f'Data: `preset("{settings.name}")`, seeds {", ".join(map(str, seeds))}: {settings.num_users:,} users, '
            f"{settings.num_items:,} items, {settings.num_interactions:,} interactions, "
            f"{', '.join(f'{m} {d}-d' for m, d in settings.modalities.items())}, each lacked by "
            f"{settings.missing:.0%} of the items; w_u ~ Dirichlet({settings.taste_concentration}).",
            "",
            f"Common to all: dim={DIM}, {', '.join(f'{key}={value}' for key, value in TRAINING.items())}; one thread.",
            "",
            "| model | chosen | among |",
            "|---|---|---|",
            *chosen,
            "",
            f"Chosen by validation Recall@20 with seed 0, never by recovery. Versions: {listed(versions())}.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, trains with one thread, writes the page."""
    parser = argparse.ArgumentParser(prog="python tools/tastes_page.py", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--models", nargs="*", choices=list(OPTIONS), default=list(OPTIONS))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    write_atomic(chosen.out, run_tastes(chosen.models, range(chosen.seeds), preset("demo")))
    print(f"written: {chosen.out}")


if __name__ == "__main__":
    main()
