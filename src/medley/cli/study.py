"""medley study"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medley.cli.options import Json
from medley.errors import InputError, MissingExtraError
from medley.report.terminal import console, show_json, show_line, show_table

if TYPE_CHECKING:
    from medley.experiments.results import Result, Results
    from medley.experiments.watch import Watch


def study(
    name: Annotated[str, typer.Argument(help="a study (see `medley study list`), or a .toml or .py file")],
    dataset: Annotated[Path | None, typer.Argument(help="data set folder, made by import or simulate")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder of the results")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="folder of the runs, which studies share [default: runs, beside --out]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="two epochs, small vectors and grids: shows that the study runs")
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="number of seeds [default: that of the study]", min=1)] = None,
    jobs: Annotated[
        int, typer.Option(help="trainings at a time, each in its process; 0: in this process, one by one", min=0)
    ] = 1,
    threads: Annotated[int | None, typer.Option(help="threads of each training [default: cores / jobs]", min=1)] = None,
    memory: Annotated[
        float | None, typer.Option(help="GB that all trainings may take [default: 4/5 of what is free]", min=0)
    ] = None,
    published: Annotated[
        str, typer.Option(help="data set whose published scores stand beside ours: kwai, tiktok, movielens, auto, none")
    ] = "auto",
    json: Json = False,
) -> None:
    """Run a study: many recipes under one protocol. The same command goes on where it was stopped; `list` lists."""
    from medley.experiments import declaration

    if name == "list":
        if dataset is not None or out is not None:
            raise InputError("arguments of medley study list", expected="none", got="a data set or --out")
        _list(json)
        return
    declared = declaration.load(name)
    if dataset is None or out is None:
        raise InputError("arguments of medley study", expected="NAME DATASET --out DIR", got=f"{name} without them")
    from medley import api
    from medley.experiments.running import run_study
    from medley.experiments.scheduler import Resources

    data, watch = api.load(dataset), _watch(declared.title)
    resources = Resources(jobs=jobs, threads=threads, memory_gb=memory)
    try:
        results = run_study(
            declared, data, out=out, runs=runs, seeds=seeds, quick=quick, resources=resources, watch=watch
        )
    finally:
        watch.close()
    page = _report(results, out, published)
    if json:
        show_json(_document(results, declared.metric, watch, out))
        return
    _show(results, declared.metric, published)
    show_line(f"Report: {page}" if page else "No page was written: it needs the packages of the extra plots")
    counts = f"{watch.num_trained} runs trained, {watch.num_evaluated} evaluated, {watch.num_found} were there"
    show_line(f"{counts}. Results: {out}")


def _watch(title: str) -> "Watch":
    from medley.experiments.watch import Lines, LiveTable

    return LiveTable(title) if sys.stderr.isatty() else Lines()


def _list(json: bool) -> None:
    from medley.experiments import declaration

    studies = [declaration.load(name) for name in declaration.names()]
    if json:
        show_json([{"name": one.name, "title": one.title, "about": one.about, "papers": one.papers} for one in studies])
        return
    rows = [(one.name, one.title, "; ".join(one.papers) or "-") for one in studies]
    show_table("Studies", ("name", "question", "papers"), rows)


def _report(results: "Results", out: Path, published: str) -> Path | None:
    """Writes page, tables and pictures; returns nothing where the extra for pictures is absent."""
    from medley.experiments.reporting import published_scores, write_report

    published_scores(results, published)  # refuses an unknown name with or without the extra
    try:
        return write_report(results, out, published=published)
    except MissingExtraError:
        return None


def _show(results: "Results", metric: str, published: str) -> None:
    """Prints the tables of every split, kind of candidates and of histories, and whether their conclusions agree."""
    from medley.experiments.agreement import agreements
    from medley.experiments.reporting import published_scores
    from medley.report.study_results import conditions
    from medley.report.study_tables import result_tables
    from medley.report.tables import to_terminal

    scores = published_scores(results, published)
    for place, condition in enumerate(conditions(results)):
        for table in result_tables(results, condition, scores if place == 0 else ()):
            console().print(to_terminal(table))
    found = agreements(results, metric)
    if found:
        columns = ("first", "second", "Kendall's tau", "same", "opposite", "first alone", "second alone", "neither")
        rows = [(" ".join(one.first), " ".join(one.second), *one[2:]) for one in found]
        caption = "Pairs of entries whose difference a paired t-test with Holm's correction supports"
        show_table(f"Do the conclusions about {metric} agree?", columns, rows, caption=caption)
    for label, reason in results.skipped.items():
        show_line(f"{label} does not apply: {reason}")


def _document(results: "Results", metric: str, watch: "Watch", out: Path) -> dict:
    from medley.experiments.agreement import agreements

    def row(one: "Result") -> dict:
        figures = {name: {"mean": value.mean, "std": _number(value.std)} for name, value in one.metrics.items()}
        keys = {"label": one.label, "split": one.split, "candidates": one.candidates}
        keys |= {"history": one.history, "users_of": one.users_of}
        return {**keys, "chosen": dict(one.chosen), "num_parameters": one.num_parameters, "metrics": figures}

    return {
        "study": results.study["name"],
        "data": results.data["name"],
        "metric": metric,
        "out": str(out),
        "num_trained": watch.num_trained,
        "num_evaluated": watch.num_evaluated,
        "num_found": watch.num_found,
        "skipped": results.skipped,
        "agreements": [one._asdict() for one in agreements(results, metric)],
        "entries": [row(one) for one in results.entries],
    }


def _number(value: float) -> float | None:
    return value if value == value else None
