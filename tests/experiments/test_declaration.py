"""Declarations: TOML and Python, what they expand to, and errors of one sentence."""

from pathlib import Path

import pytest

from medley.errors import InputError
from medley.experiments import declaration
from medley.experiments.declaration import Declaration
from medley.experiments.entries import Entry
from medley.experiments.studies import catalogue, tiktok
from medley.models import learns

MINE = """
title = "Mine"

[common]
num_epochs = 3
dim = 16

[[entries]]
use = ["systems", "LightGCN"]

[[entries]]
model = "popularity"
label = "Most popular"

[[variants]]
of = ["MMGCN"]
over = "modalities"

[[variants]]
of = ["LightGCN"]
each = { num_layers = [1, 2], reg = [0.0, 0.1] }
"""


MF = '[[entries]]\nmodel = "mf"'


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_toml_file_expands_to_entries_of_the_catalogue_and_variants(tmp_path: Path):
    study = declaration.load(written(tmp_path, MINE))
    entries, skipped = study.expand(["visual", "textual"])
    by_label = {entry.label: entry for entry in entries}
    assert study.name == "mine" and not skipped and len(entries) == 5 + 1 + 1 + 2 + 4
    assert by_label["MMGCN"].options["num_epochs"] == 3 and by_label["MMGCN"].options["dim"] == 16
    assert by_label["MMGCN"].grid == catalogue.BY_LABEL["MMGCN"].grid
    assert "dim" not in by_label["Most popular"].options  # popularity has none
    assert by_label["MMGCN: visual"].options == {"modalities": ["visual"]}
    assert by_label["LightGCN: num_layers=2, reg=0.1"].options == {"num_layers": 2, "reg": 0.1}
    assert by_label["LightGCN: num_layers=2, reg=0.1"].value == 2


def test_every_subset_of_three_modalities_but_the_whole_is_a_variant():
    study = Declaration(title="", entries=[{"use": ["MMGCN"]}], variants=[{"of": ["MMGCN"], "over": "modalities"}])
    labels = [entry.label.removeprefix("MMGCN: ") for entry in study.expand(["v", "a", "t"])[0][1:]]
    assert labels == ["v", "a", "t", "v+a", "v+t", "a+t"]


def test_a_python_file_gives_a_study(tmp_path: Path):
    text = "from medley.experiments.declaration import Declaration\n"
    text += "STUDY = Declaration(title='P', entries=[{'model': 'mf'}])\n"
    study = declaration.load(written(tmp_path, text, "own.py"))
    assert study.name == "own" and study.expand([])[0] == [Entry("mf", "mf", {}, {}, group="mf")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "not valid TOML"),
        ('title = "x"\nentries = []', "field 'entries' of the study"),
        (f'titel = "x"\ntitle = "x"\n{MF}', r"unknown field 'titel'.*did you mean title"),
        (
            'title = "x"\nsplits = ["tome"]\n[[entries]]\nmodel = "mf"',
            "splits of the study: expected .*time.*got 'tome'",
        ),
        (
            'title = "x"\nmetric = "recall@7"\n[[entries]]\nmodel = "mf"',
            "metric of the study.*recall@10.*got 'recall@7'",
        ),
        ('title = "x"\ncandidates = ["some"]\n' + MF, "candidates of the study"),
        ('title = "x"\nhistories = ["new"]\n' + MF, "histories of the study: expected train or fresh, got 'new'"),
        ('title = "x"\nfigures = ["pie"]\n' + MF, "figures of the study.*comparison.*got 'pie'"),
    ],
)
def test_an_error_in_a_file_is_named(text: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        declaration.load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"entries": [{"use": ["NCF"]}]}, "use: expected .*LightGCN.*got 'NCF'"),
        ({"entries": [{"use": ["MMGCN"], "model": "mf"}]}, "one of `use` and `model`"),
        ({"entries": [{"model": "mf"}, {"model": "mf"}]}, "label 'mf': expected once in a study, got twice"),
        ({"entries": [{"model": "mf", "options": {"dimm": 3}}]}, "entry 'mf'.*unknown option 'dimm'"),
        ({"entries": [{"model": "mf"}], "variants": [{"of": ["VBPR"]}]}, "variants of: expected mf.*got 'VBPR'"),
        (
            {"entries": [{"model": "mf"}], "variants": [{"of": ["mf"], "label": "x", "parameters_of": "VBPR"}]},
            "parameters_of: expected mf, got 'VBPR'",
        ),
    ],
)
def test_an_error_in_an_entry_is_named(fields: dict, message: str):
    with pytest.raises(InputError, match=message):
        Declaration(title="x", **fields).expand(["visual"])


def test_a_python_file_without_a_study_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"STUDY = Declaration\(\.\.\.\), got no STUDY"):
        declaration.load(written(tmp_path, "x = 1", "own.py"))
    with pytest.raises(InputError, match="ZeroDivisionError"):
        declaration.load(written(tmp_path, "1 / 0", "own.py"))


def test_an_unknown_study_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"comparison, .*, or a \.toml or \.py file, got 'comparision'"):
        declaration.load("comparision")


@pytest.mark.parametrize("name", declaration.names())
def test_labels_of_tables_exist_and_every_study_says_what_it_asks(name: str):
    study = declaration.load(name)
    labels = {entry.label for entry in study.expand(["visual", "acoustic", "textual"])[0]}
    assert study.title and study.about
    assert all(label in labels for table in study.tables.values() for label in table)


def test_the_page_of_tiktok_is_a_study_with_the_same_rows():
    entries, skipped = declaration.load("tiktok").expand(["acoustic", "visual"])
    rows = [(row.model, row.label, dict(row.options), row.grid, row.variant_of) for row in entries]
    wanted = (*tiktok.ENTRIES, *tiktok.VARIANTS)
    assert rows == [(row.model, row.label, dict(row.options), dict(row.grid), row.variant_of) for row in wanted]
    assert not skipped


def test_a_quick_entry_has_two_epochs_small_vectors_and_two_points():
    for entry in catalogue.ENTRIES:
        quick = entry.quick()
        points = list(quick.combinations())
        assert len(points) <= 2 and all(point.get("dim", 8) == 8 for point in points)
        if learns(entry.model):
            assert all(point["num_epochs"] == 2 for point in points)


def test_a_quick_entry_that_names_no_option_has_two_epochs_and_small_vectors_too():
    assert Entry("mf", "MF", {}).quick().options == {"num_epochs": 2, "dim": 8}
    assert Entry("mf", "MF", {"dim": 4}).quick().options == {"num_epochs": 2, "dim": 4}
    assert Entry("ease", "EASE", {}).quick().options == {}
    assert Entry("mf", "MF: free", {"reg": 0.0}, variant_of="MF").quick().options == {"reg": 0.0}
