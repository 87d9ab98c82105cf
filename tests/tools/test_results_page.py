import json
from pathlib import Path
from typing import NamedTuple

import pytest

from medley.auditing import audit
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.experiments.study import Entry
from tools import results_page as results

SHORT = {"dim": 8, "num_epochs": 2, "batch_size": 256, "metric": "recall@20"}
MF = Entry("mf", "MF", SHORT, {"lr": (0.01, 0.05)})
FREE = Entry("mf", "MF: free", {"reg": 0.0}, {}, variant_of="MF")
POPULARITY = Entry("popularity", "Popularity", {"metric": "recall@20"}, {})


class Place(NamedTuple):
    """A page and its record, neither of which is there yet, and the words of the command that writes them."""

    page: Path
    record: Path
    words: list[str]


@pytest.fixture
def place(simulated: Dataset, tmp_path: Path) -> Place:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/data").symlink_to(simulated.folder)
    page = tmp_path / "page.md"
    words = ["--data", "unused", "--out", str(page), "--runs", str(tmp_path / "runs"), "--workers", "0"]
    return Place(page, tmp_path / "page.json", words)


def test_a_row_can_be_added_to_a_page_and_the_others_stay(place: Place, simulated: Dataset, monkeypatch):
    page, record, common = place
    monkeypatch.setattr(results, "ROWS", (POPULARITY, MF))
    results.main(common)
    first = json.loads(record.read_text())
    assert [row["entry"]["label"] for row in first] == ["Popularity", "MF"]
    monkeypatch.setattr(results, "ROWS", (POPULARITY, MF, FREE))
    results.main([*common, "--only", "MF: free"])
    second = json.loads(record.read_text())
    assert second[:2] == first and second[2]["chosen"] == {**first[1]["chosen"], "reg": 0.0}
    text = page.read_text()
    assert "[ties are broken by a hash]" in text and f"flags {len(audit(simulated).flags)} properties" in text
    assert "| MF: free |" in text and "## Variants" in text and "| Popularity |" in text


def test_kept_rows_keep_the_versions_that_made_them(place: Place, monkeypatch):
    page, record, common = place
    monkeypatch.setattr(results, "ROWS", (POPULARITY,))
    results.main(common)
    rows = json.loads(record.read_text())
    record.write_text(json.dumps([rows[0] | {"versions": {"medley": "0.0.1"}, "fingerprint": results.LOWER_ROW_FIRST}]))
    results.main([*common, "--only"])
    text = page.read_text()
    assert "Versions: medley 0.0.1." in text and "lower row first among ties, the rule of the day" in text
    assert json.loads(record.read_text())[0]["versions"] == {"medley": "0.0.1"}


def test_a_file_without_figures_is_refused(tmp_path: Path):
    (tmp_path / "page.json").write_text('[{"label": "MF"}]')
    with pytest.raises(InputError, match="figures that this command wrote"):
        results.read_record(tmp_path / "page.json")


def test_a_row_comes_with_its_variants_and_an_unknown_name_is_refused(monkeypatch):
    monkeypatch.setattr(results, "ROWS", (POPULARITY, MF, FREE))
    assert results.select_rows(["MF"]) == results.select_rows(["mf"]) == [MF, FREE] and results.select_rows(
        ["MF: free"]
    ) == [FREE]
    with pytest.raises(InputError, match=r"got 'NCF'.*Popularity, MF"):
        results.select_rows(["MF", "NCF"])


def test_rows_of_two_protocols_do_not_share_a_page(place: Place, monkeypatch):
    page, record, common = place
    monkeypatch.setattr(results, "ROWS", (POPULARITY,))
    results.main(common)
    rows = json.loads(record.read_text())
    other = rows[0] | {"fingerprint": "of another", "entry": rows[0]["entry"] | {"label": "Other"}}
    record.write_text(json.dumps([*rows, other]))
    before = page.read_text(), record.read_text()
    monkeypatch.setattr(results, "ROWS", (POPULARITY, Entry("popularity", "Other", {}, {})))
    with pytest.raises(InputError, match="one protocol"):
        results.main([*common, "--only", "Popularity"])
    assert (page.read_text(), record.read_text()) == before


def test_the_committed_figures_are_read_as_they_were_written():
    record = Path(__file__).parents[2] / "docs/results/tiktok.json"
    read, made_with = results.read_record(record)
    written = {row["entry"]["label"]: row for row in json.loads(record.read_text())}
    assert list(read) == list(written) and len(read) > 20
    for label, row in written.items():
        assert read[label].metrics["recall@20"].mean == row["metrics"]["recall@20"]["mean"]
        assert made_with[label] == row["versions"]
        assert read[label].chosen == row["chosen"] and read[label].num_parameters == row["num_parameters"]
