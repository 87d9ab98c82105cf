"""`medley evaluate` and `medley compare`: what they print, and that it fits into 80 columns."""

import json
import re

import pytest
from tests.cli import running
from tests.cli.running import printed

import medley
from medley.evaluation.beyond import MEASURES


@pytest.fixture(scope="module")
def runs(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    quick = {"num_epochs": 1, "progress": False}
    for name, options in {"popularity": {}, "mf": {"dim": 4}, "mmgcn": {"dim": 4}}.items():
        medley.train(name, simulated, out=folder / name, **(options | quick if options else {"progress": False}))
    return folder


@pytest.fixture
def narrow(monkeypatch):
    """A terminal of 80 columns, where commands print."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(running.Screen, "is_terminal", True)


def test_figures_beyond_accuracy_are_shown_with_references_and_what_is_good(runs, simulated):
    shown = printed("evaluate", runs / "mmgcn", "--beyond", "--groups")
    table = shown.partition("what the figures say")[0]
    lines = {line.strip().split("  ")[0]: line.split() for line in table.splitlines()}
    found = medley.Run(runs / "mmgcn").evaluation()
    k20 = (found.beyond, found.references["popular"], found.references["random"])
    for name in ("gini", "novelty", "visual_diversity", "popularity_miscalibration"):
        words = lines[name.replace("_", " ")]
        assert words[-4:-1] == [f"{figures[f'{name}@20']:.4f}" for figures in k20]
    assert lines["gini"][-1] == "lower" and lines["novelty"][-1] == "higher"
    for name in MEASURES.keys() - {"genre_miscalibration"}:
        assert MEASURES[name].meaning in shown
    assert "sparse_users_recall" in shown and re.search(r"mostly_\w+_users_recall", shown)


def test_a_column_of_genres_is_measured_and_a_wrong_column_is_refused(runs):
    shown = json.loads(printed("evaluate", runs / "mf", "--beyond", "--genres", "title", "--json"))
    assert shown["beyond"]["genre_miscalibration@20"] > 0
    assert shown["beyond"] == medley.Run(runs / "mf").evaluation().beyond
    wrong = printed("evaluate", runs / "mf", "--beyond", "--genres", "genre", exit_code=2)
    assert "expected title, got 'genre'" in wrong
    assert "expected figures beyond accuracy" in printed("evaluate", runs / "mf", "--genres", "title", exit_code=2)
    words = ("--genres=title", "--genre-separator=space")
    blank = json.loads(printed("evaluate", runs / "mf", "--beyond", *words, "--json"))
    assert blank["beyond"]["genre_miscalibration@20"] != shown["beyond"]["genre_miscalibration@20"]


def test_differences_come_with_interval_effect_p_value_and_what_could_be_found(runs):
    for name in ("popularity", "mf", "mmgcn"):
        printed("evaluate", runs / name)
    folders = [runs / name for name in ("popularity", "mf", "mmgcn")]
    document = json.loads(printed("compare", *folders, "--test", "t", "--correction", "bh", "--json"))
    assert (document["test"], document["correction"]) == ("t", "bh")
    rows = medley.compare(folders, test="t", correction="bh")
    for shown, row in zip(document["runs"][1:], rows[1:], strict=True):
        one = row.comparison
        assert shown["p_values"] == {"permutation": one.permutation_p, "t": one.t_p, "wilcoxon": one.wilcoxon_p}
        assert shown["effect"] == {"d": one.effect, "better": one.better, "worse": one.worse}
        assert (shown["p_value"], shown["detectable"], shown["num_users"]) == (
            one.p_value,
            one.detectable,
            one.num_pairs,
        )
    wide = printed("compare", *folders, "--wide", "--test", "wilcoxon")
    row = next(line for line in wide.splitlines() if line.split()[:1] == ["mmgcn"]).split()
    assert row[-1] == str(rows[2].comparison.num_pairs) and f"{rows[2].comparison.detectable:.4f}" in row
    assert f"{rows[2].comparison.better:.1%}" in row and "Wilcoxon's test, Holm" in wide
    assert "expected holm or bh, got 'none'" in printed("compare", *folders, "--correction", "none", exit_code=2)
    assert "expected permutation or t or wilcoxon" in printed("compare", *folders, "--test", "z", exit_code=2)


def test_both_commands_fit_into_80_columns_and_wide_does_not_fold(runs, narrow):
    shown = printed("evaluate", runs / "mmgcn", "--beyond")
    printed("evaluate", runs / "popularity", "--beyond")
    compared = printed("compare", runs / "popularity", runs / "mmgcn", "--metric", "novelty@20")
    for text in (shown, compared):
        assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in text.splitlines()) <= 80
    for label in ("effect size d", "p (Holm)", "detectable", "difference in novelty@20"):
        assert label in compared
    wide = printed("compare", runs / "popularity", runs / "mmgcn", "--wide")
    row = next(line for line in wide.splitlines() if "mmgcn" in line)
    assert len(row.split()) == 15


def test_a_p_value_that_is_tiny_is_not_shown_as_zero(runs):
    for name in ("popularity", "mf"):
        printed("evaluate", runs / name, "--beyond")
    assert "<0.0001" in printed("compare", runs / "popularity", runs / "mf", "--metric", "novelty@20", "--test", "t")


def test_the_split_of_a_comparison_is_the_chosen_one(runs):
    folder = runs / "popularity"
    for split in ("valid", "test"):
        printed("evaluate", folder, "--split", split)
        (row,) = json.loads(printed("compare", folder, "--split", split, "--json"))["runs"]
        assert row["metrics"] == json.loads((folder / f"{split}.json").read_text())["metrics"]


def test_fresh_histories_are_judged_beside_those_of_train(runs):
    for history in ("train", "fresh"):
        shown = printed("evaluate", runs / "popularity", "--history", history)
        assert ("fresh histories" in shown) == (history == "fresh")
    error = printed("evaluate", runs / "mf", "--history", "fresh", exit_code=2)
    assert "learned vector per user" in error and "refit" in error
    shown = printed("compare", runs / "popularity", "--history", "fresh")
    assert "test split, fresh histories" in shown
    document = json.loads(printed("compare", runs / "popularity", "--history", "fresh", "--json"))
    assert document["history"] == "fresh"
    page = printed("compare", runs / "popularity", "--history", "fresh", "--format", "markdown")
    assert page.count("fresh histories") == 1
    assert medley.Run(runs / "popularity").evaluation().history == "train"
