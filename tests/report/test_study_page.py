"""The report of a study, from results that are made here; its numbers are computed again from the arrays."""

import csv
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from medley.errors import InputError
from medley.evaluation.statistics import Spread, mark_best, spread
from medley.report.study_figures import study_figures
from medley.report.study_page import write_study
from medley.report.study_results import Condition, PublishedScores, conditions, provenance
from medley.report.study_tables import marks_of, metric_columns, result_tables

NUM_USERS, NUM_SEEDS = 80, 3
COST = Spread(12.5, 0.5, 3)
METRICS = ("recall@1", "recall@5", "recall@10", "ndcg@10", "cold_recall@10")


@dataclass(frozen=True)
class Entry:
    label: str
    model: str = "mf"
    options: Mapping[str, Any] = field(default_factory=dict)
    variant_of: str = ""
    group: str = ""
    value: float | str | None = None


@dataclass(frozen=True)
class Result:
    entry: Entry
    per_user: Mapping[str, np.ndarray]
    chosen: Mapping[str, Any] = field(default_factory=lambda: {"lr": 0.01, "num_layers": 2})
    num_tried: int = 4
    cpu_to_best: Spread = COST
    peak_gb: float = 0.75
    num_parameters: int = 1234
    fingerprint: str = "f" * 64
    split: str = "given"
    candidates: str = "all"
    history: str = "train"
    users_of: str = "train"
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str = "a" * 64
    command: str = "medley train mf DATASET --set lr=0.01"
    curves: tuple[tuple[float | None, ...], ...] = ((0.1, 0.3, 0.2), (0.1, 0.2), (None, 0.25))
    user: np.ndarray = field(default_factory=lambda: np.arange(NUM_USERS))

    @property
    def metrics(self) -> dict[str, Spread]:
        """Means over users, spread over the seeds."""
        return {name: spread(np.nanmean(values, axis=1)) for name, values in self.per_user.items()}


@dataclass(frozen=True)
class Results:
    study: Mapping[str, Any]
    data: Mapping[str, Any]
    entries: list[Result]
    skipped: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)


def values(place: int, shift: float) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(place)
    found = {name: np.clip(generator.random((NUM_SEEDS, NUM_USERS)) * 0.2 + shift, 0, 1) for name in METRICS}
    found["cold_recall@10"][:, ::2] = np.nan  # users without cold items
    return found


@pytest.fixture
def results() -> Results:
    """Two systems, variants of one of them along num_layers, and a name that needs escaping."""
    entries = [
        Result(Entry("Good", "mmgcn", group="Systems"), values(0, 0.6)),
        Result(Entry("<b>Bad & ugly</b>", "lightgcn", group="Baselines"), values(1, 0.1), chosen={"k": 5}),
        *(
            Result(
                Entry(f"Good: num_layers={n}", "mmgcn", {"num_layers": n}, "Good", "Systems", n), values(n + 2, 0.1 * n)
            )
            for n in (1, 3, 4)
        ),
    ]
    study = {"name": "toy", "title": "A toy", "about": "Why?", "papers": ["MMGCN, Table 4"], "at": [1, 5, 10]}
    study |= {"metric": "recall@10", "tables": {"The paper's": ["Good", "absent"]}}
    study |= {"figures": ["comparison", "curve", "recall_at_k", "training", "cost", "ranks"]}
    parts = {"log": "1" * 64, "features/visual": "2" * 64}
    split = {"num_interactions": {"train": 1000, "valid": 10, "test": 20}, "split_hash": "3" * 64, "parts": parts}
    data = {"name": "demo", "num_users": 100, "num_items": 50, "modalities": {"visual": 64}, "splits": {"given": split}}
    made_by = {"command": "medley study toy DATASET --seeds 3", "versions": {"medley": "9.9"}, "quick": False}
    return Results(study, data, entries, {"Good: acoustic": "the data set has no acoustic"}, made_by)


PUBLISHED = [
    PublishedScores("MMGCN", {"recall@10": 0.552, "ndcg@10": 0.3423}, "MMGCN, Table 2, TikTok", "on test, or not said"),
    PublishedScores("vbpr", {"recall@10": 0.4878}, "MMGCN, Table 2, TikTok", "on test, or not said"),
    PublishedScores("other", {"auc": 0.9}, "elsewhere", "unknown"),
]
GIVEN = Condition("given", "all")


def test_the_page_is_one_file_that_loads_nothing(results, tmp_path):
    text = write_study(results, tmp_path, published=PUBLISHED).read_text(encoding="utf-8")
    loaded = re.findall(r'\b(?:src|href|xlink:href|action|data)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert loaded and all(each.startswith(("#", "data:")) for each in loaded)
    assert not re.search(r"<script|<link|<iframe|@import|javascript:", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {each[1:] for each in loaded if each.startswith("#")} <= set(ids)


def test_labels_are_escaped_everywhere(results, tmp_path):
    text = write_study(results, tmp_path).read_text(encoding="utf-8")
    assert "<b>Bad" not in text and "&lt;b&gt;Bad &amp; ugly&lt;/b&gt;" in text
    for figure in re.findall(r"<figure>(<svg.*?</svg>)", text, re.S):
        ET.fromstring(figure.replace("xlink:href", "href"))


def test_every_picture_and_table_says_where_it_comes_from(results, tmp_path):
    text = write_study(results, tmp_path).read_text(encoding="utf-8")
    origin = provenance(results, GIVEN)
    for part in (
        "medley study toy DATASET --seeds 3",
        "seeds 0, 1, 2",
        "f" * 16,
        "log 111111111111",
        "features/visual 2222",
    ):
        assert part in origin
    figures = re.findall(r"<figure>.*?</figure>", text, re.S)
    assert len(figures) == len(study_figures(results, GIVEN)) and all(origin in figure for figure in figures)
    assert all(origin in path.read_text(encoding="utf-8") for path in (tmp_path / "figures").glob("*.svg"))
    assert origin in (tmp_path / "tables.md").read_text() and origin in (tmp_path / "tables.tex").read_text()


def test_the_csv_holds_means_spreads_and_marks_of_the_arrays(results, tmp_path):
    write_study(results, tmp_path)
    with (tmp_path / "tables" / "all-entries.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    for one in results.entries:
        array = np.nanmean(one.per_user["recall@10"], axis=1)
        assert float(rows[one.entry.label]["recall@10"]) == pytest.approx(array.mean())
        assert float(rows[one.entry.label]["recall@10 std"]) == pytest.approx(array.std(ddof=1))
    users = {one.entry.label: one.per_user["recall@10"].mean(axis=0) for one in results.entries}
    assert {label: row["recall@10 mark"] or None for label, row in rows.items()} == mark_best(users)
    assert rows["Good"]["recall@10 mark"] == "best"


def test_a_difference_that_no_test_supports_is_not_marked(results):
    one = values(0, 0.5)
    rows = [replace(results.entries[0], per_user=one), replace(results.entries[1], per_user=one)]
    assert set(marks_of(rows, "recall@10").values()) == {None}


def test_entries_of_other_users_are_not_compared(results):
    rows = [results.entries[0], replace(results.entries[1], user=np.arange(NUM_USERS) + 1)]
    assert set(marks_of(rows, "recall@10").values()) == {None}


def test_published_scores_stand_below_ours_unmarked_with_their_selection(results, tmp_path):
    first, *others = result_tables(results, GIVEN, PUBLISHED)
    (row,) = [row for row in first.rows if row.elsewhere]
    assert row.label == "MMGCN" and row is first.rows[-1] and row.cells["recall@10"].value == 0.552
    assert all(cell.mark is None for cell in row.cells.values())
    assert "Measured elsewhere: MMGCN, Table 2, TikTok. Selection: on test, or not said" in first.footnotes()[-1]
    assert [row.label for table in others for row in table.rows if row.elsewhere] == ["vbpr"]  # no row of ours
    text = write_study(results, tmp_path, published=PUBLISHED).read_text(encoding="utf-8")
    assert "0.5520" in text and "0.4878" in text and "0.9000" not in text


def test_tables_of_the_declaration_hold_the_entries_that_are_there(results):
    tables = {table.title: [row.label for row in table.rows] for table in result_tables(results, GIVEN)}
    assert tables["The paper's"] == ["Good"]
    assert tables["Baselines"] == ["<b>Bad & ugly</b>"]
    assert len(tables["All entries"]) == 5


def test_many_cut_offs_give_one_in_tables_and_all_in_a_picture(results):
    assert metric_columns(results.study, results.entries) == ("recall@10", "ndcg@10", "cold_recall@10")
    figures = {one.name: one for one in study_figures(results, GIVEN)}
    axes = figures["recall-at-k-good"].figure.axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 5, 10]


def test_the_curve_goes_through_the_means_and_the_entry_that_is_varied(results):
    (curve,) = [one for one in study_figures(results, GIVEN) if one.name == "curve-num_layers"]
    (line,) = curve.figure.axes[0].lines
    base, *variants = (results.entries[place].per_user["recall@10"].mean() for place in (0, 2, 3, 4))
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(line.get_ydata(), [variants[0], base, variants[1], variants[2]])


def test_each_condition_has_a_section_and_its_own_files(results, tmp_path):
    entries = [*results.entries, *(replace(one, candidates="sampled-1000") for one in results.entries)]
    both = replace(results, entries=entries)
    assert conditions(both) == [GIVEN, Condition("given", "sampled-1000")]
    text = write_study(both, tmp_path, formats=[".svg"]).read_text(encoding="utf-8")
    assert text.count('<h2 id="given-') == 2
    assert (tmp_path / "figures" / "given-sampled-1000-ranks.svg").exists()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_skipped_entries_quick_runs_settings_and_commands_are_shown(results, tmp_path):
    quick = replace(results, made_by={**results.made_by, "quick": True})
    text = write_study(quick, tmp_path).read_text(encoding="utf-8")
    assert "Good: acoustic: the data set has no acoustic" in text and 'class="quick"' in text
    assert "lr=0.01, num_layers=2" in text and "medley train mf DATASET --set lr=0.01" in text and "medley 9.9" in text


def test_an_unknown_picture_is_refused(results, tmp_path):
    wrong = replace(results, study={**results.study, "figures": ["pie"]})
    with pytest.raises(InputError, match=r"figures of the study: expected comparison or .*, got 'pie'"):
        write_study(wrong, tmp_path)
    assert not list(tmp_path.iterdir())


def test_pictures_that_the_results_do_not_suffice_for_are_left_out(results):
    two = replace(
        results, entries=[replace(one, curves=(), cpu_to_best=Spread(0, 0, 3)) for one in results.entries[:2]]
    )
    assert {one.name for one in study_figures(two, GIVEN)} == {"comparison", "recall-at-k-all"}
