"""The report of a study: its page, tables and pictures, with the scores that papers published on such data."""

from pathlib import Path

from medley.errors import InputError
from medley.experiments import papers
from medley.experiments.results import Results
from medley.models import MODELS
from medley.report.study_results import PublishedScores

SELECTION = {  # how the settings and epochs behind published scores were selected: see DOUBTS of each paper
    "mmgcn": "not said; the settings are known from the authors' code alone",
    "ludp": "settings on validation, according to the paper; the chosen ones are not published",
    "dualgnn": "a grid, by a metric that is not named; the chosen settings are not published",
    "egogcn": "on validation in the paper, but the authors' code keeps the epoch that is best on test",
    "huign": "the authors' code keeps the epoch that is best on test",
}
DATA = tuple(dict.fromkeys(name for paper in papers.PAPERS.values() for name in papers.published_of(paper)))
AUTO, NONE = "auto", "none"


def published_scores(results: Results, data: str = AUTO) -> list[PublishedScores]:
    """Returns what the papers of the models in a study published.

    Args:
        results: of the study.
        data: a name out of DATA; `auto` is the one that the name of the data set contains, if there is one; `none`.

    Raises:
        InputError: an unknown name.
    """
    if data not in (AUTO, NONE, *DATA):
        raise InputError("published", expected=" or ".join((AUTO, NONE, *DATA)), got=repr(data))
    if data == AUTO:
        data = next((name for name in DATA if name in str(results.data["name"]).lower()), NONE)
    models = {result.entry.model for result in results.entries}
    found = []
    for model, paper in papers.PAPERS.items():
        published = papers.published_of(paper).get(data)
        if model not in models or published is None:
            continue
        for label, scores in published.scores.items():
            shown = label if label in MODELS else f"{model}: {label}"
            source = f"paper of {MODELS[model].__name__}, {data} ({published.data})"
            found.append(PublishedScores(shown, dict(scores), source, SELECTION[model]))
    return found


def write_report(results: Results, folder: str | Path, *, published: str = AUTO) -> Path:
    """Writes page, tables and pictures of a study into a folder, without any training.

    Args:
        results: of `run_study` or `Results.load`.
        folder: where the files are written.
        published: see `published_scores`.

    Returns:
        The path of the page.

    Raises:
        InputError: an unknown name of published data.
        MissingExtraError: the packages of the extra `plots` are absent.
    """
    from medley.report.study_page import write_study  # here, for it needs an extra

    return write_study(results, folder, published=published_scores(results, published))
