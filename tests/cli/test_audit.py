"""`medley audit`, and the flags that `inspect`, `evaluate` and `compare` show."""

import json

import pytest
from tests.cli.running import printed

import medley
from medley.data.dataset import Dataset


@pytest.fixture(scope="module")
def flagged(tmp_path_factory) -> Dataset:
    """300 users whose held-out items have larger rows than their train items."""
    rows = [
        (user, (7 * user + 13 * place) % 50 + 40 * place, split)
        for user in range(300)
        for place, split in enumerate(["train", "train", "train", "valid", "test"])
    ]
    log = {name: list(column) for name, column in zip(("user", "item", "split"), zip(*rows, strict=True), strict=True)}
    return Dataset.from_frames(log, split="given", out=tmp_path_factory.mktemp("flagged") / "data", name="flagged")


def test_the_audit_is_printed_as_text_json_or_a_page(flagged):
    text = printed("audit", flagged.folder)
    assert "row-order" in text and "FLAG" in text and "--split time-user" in text
    document = json.loads(printed("audit", flagged.folder, "--json"))
    assert document["flags"] == medley.audit(flagged).flags and document["dataset"] == str(flagged.folder)
    assert printed("audit", flagged.folder, "--format", "markdown").startswith("# Audit of flagged\n")


@pytest.mark.parametrize("form", [(), ("--json",), ("--format", "markdown")], ids=["text", "json", "markdown"])
def test_a_file_holds_what_would_be_printed(flagged, tmp_path, form):
    text = printed("audit", flagged.folder, *form)
    said = printed("audit", flagged.folder, *form, "--out", tmp_path / "audit")
    assert "wrote" in said and "row-order" not in said
    written = (tmp_path / "audit").read_text()
    assert written.replace(f" --out {tmp_path / 'audit'}", "") == text


def test_strict_ends_with_an_error_exactly_if_there_are_flags(flagged, simulated):
    assert "row-order" in printed("audit", flagged.folder, "--strict", exit_code=1)
    printed("audit", simulated.folder, "--strict")


def test_inspect_counts_the_flags_and_names_them(flagged, simulated):
    names = medley.auditing.quick_flags(flagged)
    assert f"{len(names)} flags: {', '.join(names)}; medley audit {flagged.folder} says more" in printed(
        "inspect", flagged.folder
    )
    assert "0 flags; medley audit" in printed("inspect", simulated.folder)
    assert json.loads(printed("inspect", flagged.folder, "--json"))["flags"] == names


def test_evaluate_and_compare_show_the_flags_in_one_line(flagged, tmp_path):
    folder = tmp_path / "run"
    medley.train("popularity", flagged, out=folder, progress=False)
    shown = [line for line in printed("evaluate", folder).splitlines() if line.startswith("Flags of the data set: ")]
    assert len(shown) == 1 and "row-order" in shown[0] and f"medley audit {flagged.folder}" in shown[0]
    assert "row-order" in json.loads(printed("evaluate", folder, "--json"))["flags"]
    for words in ((), ("--wide",)):
        lines = printed("compare", folder, *words).splitlines()
        assert sum(line.startswith("Flags of the data set: row-order") for line in lines) == 1
    assert "Flags of the data set: row-order" in printed("compare", folder, "--format", "markdown").replace("\\", "")
    assert "row-order" in json.loads(printed("compare", folder, "--json"))["runs"][0]["flags"]


def test_what_has_no_flags_shows_no_line(simulated, tmp_path):
    folder = tmp_path / "run"
    medley.train("popularity", simulated, out=folder, progress=False)
    assert "Flags of the data set" not in printed("evaluate", folder) + printed("compare", folder)
