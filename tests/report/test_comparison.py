"""`medley compare` as a table for papers and spreadsheets."""

import csv
import io

import pytest
from tests.cli.running import printed

import medley
from medley import api
from medley.report.comparison import compared_table


@pytest.fixture(scope="module")
def folders(simulated, tmp_path_factory):
    """Two evaluated runs."""
    out = tmp_path_factory.mktemp("runs")
    for model in ("popularity", "mf"):
        options = {} if model == "popularity" else {"num_epochs": 2, "dim": 4}
        run = api.train(model, simulated, out=out / model, progress=False, **options)
        api.evaluate(run, simulated, at=(20,))
    return [out / "popularity", out / "mf"]


def test_csv_holds_the_numbers_of_the_comparison(folders):
    first, second = csv.DictReader(io.StringIO(printed("compare", *folders, "--format", "csv")))
    rows = medley.compare(folders)
    assert first["run"] == "popularity (popularity)" and first["difference"] == first["p"] == ""
    assert float(second["recall@20"]) == rows[1].metrics["recall@20"]
    found = rows[1].comparison
    assert [float(second[name]) for name in ("difference", "95% from", "95% to", "p", "detectable")] == [
        *(found.difference, found.low, found.high, found.p_value, found.detectable)
    ]


def test_one_run_has_no_differences(folders):
    table = compared_table(medley.compare(folders[:1]), judged="test split", metric="recall@20")
    assert "difference" not in table.columns and table.footnotes() == []


def test_an_unknown_format_is_refused(folders):
    refused = printed("compare", *folders, "--format", "word", exit_code=2)
    assert "expected markdown or latex or csv or html" in refused
