"""medley tune"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medley.cli.options import Assignments, DatasetFolder, Json, Out, Seed, agreed, parse_assignments, split_keys
from medley.errors import InputError
from medley.report.terminal import show_json, show_line, show_table

if TYPE_CHECKING:
    from medley.models.spaces import Space
    from medley.tuning import Trial, Tuned

MOST_TRIALS = 20  # in the table; the file has all
UNITS = (3600, 60, 1)  # seconds of the groups of DURATION
DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def tune(
    model: Annotated[str, typer.Argument(help="a model (see `medley models`) or an import path")],
    dataset: DatasetFolder,
    out: Out,
    trials: Annotated[int | None, typer.Option(help="number of trials [default: 30, without --time]", min=1)] = None,
    time: Annotated[
        str | None, typer.Option(metavar="TIME", help="of search and finalists together: 90s, 10m, 1h30m")
    ] = None,
    seed: Seed = 0,
    finalists: Annotated[int, typer.Option(help="trials that are trained again with more seeds", min=1)] = 3,
    seeds: Annotated[int, typer.Option(help="seeds of every finalist", min=1)] = 3,
    jobs: Annotated[int, typer.Option(help="trainings at a time", min=1)] = 1,
    metric: Annotated[str | None, typer.Option(help="validation metric, as name@k [default: recall@20]")] = None,
    searched: Annotated[
        list[str] | None,
        typer.Option(
            "--try", metavar="KEY=VALUES", help="search this option: 32,64,128 or 1..4 or 0.0..0.5 or log:1e-4..1e-2"
        ),
    ] = None,
    assignments: Assignments = None,
    json: Json = False,
) -> None:
    """Search the settings of a model on validation. The same command goes on with a search that was stopped."""
    from medley import api
    from medley.tuning import document_of
    from medley.tuning import tune as search

    changes = agreed("metric", metric, parse_assignments(assignments))
    space = parse_spaces(searched or ())
    if "seed" in changes:
        raise InputError("--set seed", expected="--seed", got=f"--set seed={changes['seed']}")
    seconds = None if time is None else parse_duration(time)
    tuned = search(
        model,
        api.load(dataset),
        trials=trials,
        seconds=seconds,
        out=out,
        seed=seed,
        finalists=finalists,
        seeds=seeds,
        jobs=jobs,
        space=space,
        **changes,
    )
    if json:
        show_json({"out": str(out), **document_of(tuned), "trials": [_row(trial) for trial in tuned.trials]})
        return
    _show(tuned, model, out)
    show_line(f"Next: medley train --recipe {out / 'recipe.json'} {dataset} --out RUN")


def parse_spaces(given: Sequence[str]) -> "dict[str, Space]":
    """Parses `["dim=32,64", "lr=log:1e-4..1e-2"]`.

    Raises:
        InputError: no `=`, a key given twice, or not a search space.
    """
    from medley.models.spaces import parse_space

    split = split_keys(given, option="--try", expected="KEY=VALUES")
    return {key: parse_space(text) for key, text in split.items()}


def parse_duration(text: str) -> float:
    """Parses `90s`, `10m`, `1h30m` or a number of seconds.

    Raises:
        InputError: none of these.
    """
    match = DURATION.fullmatch(text.strip())
    parts = match.groups("0") if match else ("0",)
    seconds = sum(float(part) * unit for part, unit in zip(parts, UNITS, strict=False))
    if not seconds:
        raise InputError("--time", expected="a time such as 90s, 10m or 1h30m", got=repr(text))
    return seconds


def _row(trial: "Trial") -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state,
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "num_epochs": trial.num_epochs,
        "seconds": trial.seconds,
        "params": dict(trial.params),
        "message": trial.message,
    }


def _show(tuned: "Tuned", model: str, out: Path) -> None:
    """Prints trials, importance of the parameters and finalists."""
    ranked = sorted(tuned.trials, key=lambda trial: (trial.value is None, -(trial.value or 0.0), trial.number))
    names = list(ranked[0].params)
    rows = [
        (one.number, one.state, one.value, one.best_epoch, one.seconds, *(_cell(one.params[name]) for name in names))
        for one in ranked[:MOST_TRIALS]
    ]
    columns = ("trial", "state", tuned.metric, "epoch", "seconds", *names)
    caption = (
        f"the best {MOST_TRIALS} of {len(ranked)}; all: {out / 'trials.csv'}" if len(ranked) > MOST_TRIALS else None
    )
    show_table(f"Trials of {model}, on validation", columns, rows, caption=caption)
    if tuned.importance:
        show_table("Importance", ("parameter", "share"), list(tuned.importance.items()))
    seeds = len(tuned.finalists[0].values)
    body = [(one.number, one.mean, one.std, *one.values) for one in tuned.finalists]
    each = [f"seed {tuned.recipe.seed + place}" for place in range(seeds)]
    show_table("Finalists", ("trial", "mean", "std", *each), body)
    changed = " ".join(f"{name}={_cell(tuned.recipe.flat()[name])}" for name in names) or "the defaults"
    over = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    show_line(f"Best: {tuned.metric} {tuned.best:.4f} ({over}) with {changed}", style="bold")
    if tuned.ending == "interrupted":
        show_line("Interrupted: the same command goes on.")
    elif tuned.ending != "trials":
        show_line(f"Ended by: {tuned.ending}.")


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
