"""The commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medley.cli.options import parse_assignments, parse_numbers
from medley.cli.show import COLOURS, OUT, shares_bar, show_findings, show_json, show_pairs, show_table
from medley.errors import InputError
from medley.version import versions

if TYPE_CHECKING:
    from medley.evaluation.evaluator import Evaluation
    from medley.serving.explain import Finding

app = typer.Typer(
    help="Multi-modal graph recommendation. Every command has --help; --debug shows the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="print one JSON document on standard output")]
Out = Annotated[Path, typer.Option("--out", "-o", help="folder to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the folder if it exists")]
Seed = Annotated[int, typer.Option(help="seed of everything random", min=0)]
Assignments = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="may be repeated")]
DatasetFolder = Annotated[Path, typer.Argument(help="data set folder, made by import or simulate")]
RunFolder = Annotated[Path, typer.Argument(help="run folder, made by train")]
MovedDataset = Annotated[Path | None, typer.Option("--dataset", help="where the data set is now, if it has moved")]


@app.callback(invoke_without_command=True)
def _medley(version: Annotated[bool, typer.Option("--version", help="print the versions and exit")] = False) -> None:
    if version:
        typer.echo("\n".join(f"{name} {number}" for name, number in versions().items()))
        raise typer.Exit


@app.command("simulate")
def simulate_command(
    preset: Annotated[str, typer.Argument(help="demo, tiktok, kwai, movielens, ...")],
    out: Out,
    assignments: Assignments = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a catalogue with planted tastes, at any size."""
    from medley.data import simulate

    settings = simulate.preset(preset, **parse_assignments(assignments or []))
    _show_dataset(simulate.simulate(out, settings=settings, seed=seed, overwrite=overwrite).folder, json)


@app.command("import")
def import_command(
    format: Annotated[str, typer.Argument(help="csv, parquet, recbole, mmrec, lists or mmssl")],
    source: Annotated[Path, typer.Argument(help="folder or file to read")],
    out: Out,
    name: Annotated[str | None, typer.Option(help="of the data set; by default that of the source")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="given, random, random-user, leave-one-out, time, time-user or cold-item"),
    ] = None,
    ratios: Annotated[
        tuple[float, float, float] | None, typer.Option(help="train, validation, test; 0.8 0.1 0.1 by default")
    ] = None,
    kcore: Annotated[int, typer.Option(help="keep users and items with so many interactions", min=0)] = 0,
    rating_threshold: Annotated[float | None, typer.Option(help="keep interactions rated so or better")] = None,
    user_column: Annotated[str | None, typer.Option(help="name of the user column")] = None,
    item_column: Annotated[str | None, typer.Option(help="name of the item column")] = None,
    timestamp_column: Annotated[str | None, typer.Option(help="name of the time column")] = None,
    rating_column: Annotated[str | None, typer.Option(help="name of the rating column")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Read a log and item features in a public format."""
    from medley.data.sources import import_dataset

    data = import_dataset(
        format,
        source,
        out,
        name=name,
        split=split,
        ratios=ratios,
        kcore=kcore,
        seed=seed,
        rating_threshold=rating_threshold,
        user_column=user_column,
        item_column=item_column,
        timestamp_column=timestamp_column,
        rating_column=rating_column,
        overwrite=overwrite,
    )
    _show_dataset(data.folder, json)


@app.command("inspect")
def inspect_command(
    dataset: DatasetFolder,
    verify: Annotated[bool, typer.Option(help="also compare every file with its hash")] = False,
    json: Json = False,
) -> None:
    """Print the statistics of a data set, and what is odd about it."""
    _show_dataset(dataset, json, verify=verify)


@app.command("models")
def models_command(
    name: Annotated[str | None, typer.Argument(help="one model, with the types of its options")] = None,
    json: Json = False,
) -> None:
    """List the models with their papers, options and defaults."""
    from medley.models import MODELS, describe

    described = [describe(each) for each in ([name] if name else MODELS)]
    if json:
        show_json({"models": described})
        return
    for model in described:
        options = model["options"]
        OUT.print(f"[bold]{model['name']}[/bold]  {model['summary']}", highlight=False)
        OUT.print(f"    {model['paper']}", highlight=False, markup=False, style="dim")
        OUT.print(f"    Choose it {model['choice']}", highlight=False, markup=False)
        if name:
            rows = [(key, option["type"], str(option["default"])) for key, option in options.items()]
            show_table("Options, for --set", ("option", "type", "default"), rows)
        else:
            listed = ", ".join(f"{key}={option['default']}" for key, option in options.items())
            OUT.print(f"    options: {listed or 'none'}\n", highlight=False, markup=False)


@app.command("train")
def train_command(
    model: Annotated[str, typer.Argument(help="see `medley models`")],
    dataset: DatasetFolder,
    out: Out,
    assignments: Assignments = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    json: Json = False,
) -> None:
    """Train a model. --set takes its options (dim, num_layers, ...) and settings (lr, batch_size, num_epochs, ...)."""
    from medley import models
    from medley.data.dataset import Dataset
    from medley.training.fit import fit
    from medley.training.progress import ProgressBar
    from medley.training.settings import TrainSettings, check_settings

    given = parse_assignments(assignments or [])
    for_training = {key: given.pop(key) for key in list(given) if key in TrainSettings.model_fields}
    settings = check_settings({"seed": seed, "device": device, **for_training})
    models.check_options(model, given, more=tuple(TrainSettings.model_fields))
    data = Dataset(dataset)
    recommender = models.build(model, data.inputs(), seed=settings.seed, **given)
    progress = ProgressBar(model, settings.metric)
    history = fit(recommender, data, settings, out=out, resume=resume, progress=progress)
    document = {
        "model": model,
        "run": str(out),
        "ending": history.ending,
        "num_epochs": len(history.epochs),
        "best_epoch": history.best_epoch,
        "metric": history.metric,
        "best": history.best,
        "seconds": history.seconds,
    }
    if json:
        show_json(document)
    else:
        show_pairs(f"{model} on {data.manifest.name}", document)
        OUT.print(f"Next: medley evaluate {out}", highlight=False)


@app.command("evaluate")
def evaluate_command(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="test or valid")] = "test",
    at: Annotated[str, typer.Option(help="cut-offs K")] = "10,20",
    candidates: Annotated[
        str, typer.Option(help="all, or sampled-1000 (each pair against 1,000 items), sampled-1000-per-user")
    ] = "all",
    groups: Annotated[bool, typer.Option(help="also the recall of cold and of warm items apart")] = False,
    seed: Annotated[int, typer.Option(help="of the sampled candidates", min=0)] = 0,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Rank what was held out and measure; the result is kept in the run folder."""
    import torch

    from medley.evaluation.evaluator import evaluate
    from medley.runs import Run

    ks = parse_numbers(at, option="--at")
    opened = Run(run)
    data = opened.dataset(dataset)
    model = opened.model(data)
    with torch.no_grad():
        evaluation = evaluate(model.scorer(), data, split=split, at=ks, candidates=candidates, groups=groups, seed=seed)
    evaluation.save(run)
    document = {"model": opened.record.model, "run": str(run), **evaluation.document()}
    if json:
        show_json(document)
        return
    names = dict.fromkeys(name.partition("@")[0] for name in evaluation.metrics)
    rows = [(name, *(evaluation.metrics[f"{name}@{k}"] for k in ks)) for name in names]
    caption = f"{evaluation.num_users:,} users, candidates: {candidates}, protocol {evaluation.fingerprint[:12]}"
    title = f"{opened.record.model} on {data.manifest.name}, {split}"
    show_table(title, ("", *(f"@{k}" for k in ks)), rows, caption=caption)


@app.command("compare")
def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")],
    split: Annotated[str, typer.Option(help="test or valid")] = "test",
    metric: Annotated[str, typer.Option(help="the metric that the test of significance is about")] = "recall@20",
    json: Json = False,
) -> None:
    """Put evaluated runs side by side; refuses runs whose evaluations are not alike."""
    from medley.evaluation.evaluator import Evaluation, same_protocol
    from medley.runs import Run

    evaluations = {str(run): Evaluation.load(run, split) for run in runs}
    same_protocol(evaluations)
    names = {str(run): Run(run).record.model for run in runs}
    rows = _compare(evaluations, names, metric)
    if json:
        show_json({"split": split, "metric": metric, "runs": rows})
        return
    metrics = [name for name in rows[0]["metrics"] if all(name in row["metrics"] for row in rows)]
    table = [
        (row["run"], row["model"], *(row["metrics"][name] for name in metrics), _difference(row), row["p_value"])
        for row in rows
    ]
    caption = f"Difference in {metric} to the first run, paired by user: 95% bootstrap interval, sign-flip p (Holm)"
    show_table(f"{split} split", ("run", "model", *metrics, "difference", "p"), table, caption=caption)


@app.command("recommend")
def recommend_command(
    run: RunFolder,
    user: Annotated[str, typer.Option(help="raw id of the user")],
    k: Annotated[int, typer.Option("-k", help="how many", min=1)] = 10,
    explain: Annotated[
        bool, typer.Option("--explain", help="each modality's share of every score; what the model has learned")
    ] = False,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Recommend items that a user has not touched yet."""
    from dataclasses import asdict

    from rich.text import Text

    from medley.runs import Run
    from medley.serving.explain import about_item, about_user
    from medley.serving.recommend import recommend

    opened = Run(run)
    data = opened.dataset(dataset)
    trained, name = opened.model(data), opened.record.model
    items = recommend(trained, data, user=user, k=k, explain=explain)
    about = about_user(trained, data, user) if explain else []
    about_items = [about_item(trained, data, item.item) if explain else [] for item in items]
    if json:
        document: dict[str, Any] = {"model": name, "user": user, "items": [asdict(item) for item in items]}
        if explain:
            document["about_user"] = [_finding_document(finding) for finding in about]
            for item, findings in zip(document["items"], about_items, strict=True):
                item["about_item"] = [_finding_document(finding) for finding in findings]
        show_json(document)
        return
    parts = list(items[0].shares) if items else []
    rows = [
        (
            place,
            item.item,
            item.title or "",
            item.score,
            *(Text(f"{item.shares[part]:+.0%}", COLOURS[at % len(COLOURS)]) for at, part in enumerate(parts)),
            *([shares_bar(item.shares)] if parts else []),
        )
        for place, item in enumerate(items, start=1)
    ]
    columns = ("", "item", "title", "score", *parts, *(["of the score"] if parts else []))
    caption = None
    if explain:
        caption = "Parts of the score, as shares of their sizes" if parts else "The score of this model has no parts"
    show_table(f"{name} for user {user}", columns, rows, caption=caption)
    if about:
        show_findings(f"What {name} has learned about user {user}", about)
    if items and about_items[0]:
        show_findings(f"What {name} has learned about {items[0].title or items[0].item}", about_items[0])


def _finding_document(finding: Finding) -> dict[str, Any]:
    """A finding as JSON."""
    return {"topic": finding.topic, "kind": finding.kind, "weights": [each._asdict() for each in finding.weights]}


def _show_dataset(folder: Path, json: bool, *, verify: bool = False) -> None:
    from medley.data.dataset import Dataset
    from medley.data.inspect import inspect_dataset

    inspection = inspect_dataset(Dataset(folder, verify=verify))
    if json:
        show_json({"dataset": str(folder), **inspection.as_dict()})
        return
    for title, (columns, *rows) in inspection.tables().items():
        show_table(title, columns, rows)


def _compare(evaluations: dict[str, Evaluation], names: dict[str, str], metric: str) -> list[dict[str, Any]]:
    """One row per run: its metrics and its paired difference to the first run."""
    import numpy as np

    from medley.evaluation.statistics import compare_paired, holm

    for run, evaluation in evaluations.items():
        if metric not in evaluation.per_user:
            known = ", ".join(evaluation.per_user)
            raise InputError(f"metric of {run}", expected=known, got=repr(metric), remedy="evaluate with other --at")
    rows: list[dict[str, Any]] = [
        {"run": run, "model": names[run], "metrics": evaluation.metrics, "difference": None, "p_value": None}
        for run, evaluation in evaluations.items()
    ]
    first, *others = (evaluation.per_user[metric] for evaluation in evaluations.values())
    if others:
        comparisons = [compare_paired(first, other, generator=np.random.default_rng(0)) for other in others]
        adjusted = holm([comparison.p_value for comparison in comparisons])
        for row, comparison, p_value in zip(rows[1:], comparisons, adjusted, strict=True):
            row["difference"] = {"mean": comparison.difference, "low": comparison.low, "high": comparison.high}
            row["p_value"] = float(p_value)
    return rows


def _difference(row: dict[str, Any]) -> str | None:
    if row["difference"] is None:
        return None
    return "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**row["difference"])
