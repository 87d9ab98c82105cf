"""The demo end to end on a tiny catalogue, and its page."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from rich.console import Console

from medley import api
from medley.cli import main
from medley.data.dataset import Dataset
from medley.data.simulate import planted, preset
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.experiments import demo
from medley.report import page as report
from medley.report.results import best_values, load_results
from medley.runs import Run

TINY = preset("demo", num_users=60, num_items=90, num_interactions=1200, num_clusters=6)
EVIL = "<script>alert('x')</script> & \"more\""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """The folder of a demo of two epochs, and its output."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    console = Console(record=True, width=112, file=io.StringIO())
    page = demo.run_demo(out, catalogue=TINY, changes={"num_epochs": 2}, console=console)
    return SimpleNamespace(out=out, page=page, printed=console.export_text())


class Loads(HTMLParser):
    """Collects what a browser would fetch, and every tag."""

    def __init__(self, html: str):
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        wanted = ("src", "href", "xlink:href", "srcset", "data", "poster")
        self.addresses += [value or "" for name, value in attrs if name in wanted]


def test_every_model_leaves_a_finished_and_evaluated_run(made):
    for name in ("popularity", "mf", "vbpr", "lightgcn", "mmgcn"):
        run = Run(made.out / "runs" / name)
        assert run.record.status == "finished"
        assert run.record.num_epochs_done == (0 if name == "popularity" else 2)
        assert 0 <= run.evaluation().metrics["ndcg@10"] <= 1


def test_the_table_shows_what_the_runs_hold(made):
    for name in ("mf", "mmgcn"):
        run = Run(made.out / "runs" / name)
        metrics = run.evaluation().metrics
        (row,) = [line for line in made.printed.splitlines() if re.match(rf"{name} ", line, re.IGNORECASE)]
        shown = [f"{metrics[f'{m}@{k}']:.4f}" for m in ("recall", "precision", "ndcg") for k in (10, 20)]
        assert re.findall(r"\b\d\.\d{4}\b", row) == shown
        assert f"{run.record.num_parameters:,}" in row


def test_the_best_value_of_each_column_is_marked_on_the_page(made):
    results = load_results([Run(made.out / "runs" / name) for name in demo.TRAINING])
    marked = {float(value) for value in re.findall(r"<td><strong>([\d.]+)</strong>", made.page.read_text())}
    assert marked == {round(value, 4) for value in best_values(results).values()}


def test_the_shares_of_every_user_are_those_of_the_model_and_the_plant(made):
    data = Dataset(made.out / "data")
    truth = planted(data)
    model = Run(made.out / "runs" / "mmgcn").model(data)
    shown = re.findall(r"^User (\S+), has seen (\d+)", made.printed, re.MULTILINE)
    assert 1 <= len(shown) <= 3
    for raw, seen in shown:
        row = data.users.row(raw)
        assert int(seen) == data.train.items_per_user()[row]
        part = made.printed.split(f"User {raw},")[1].split("✓ seen in")[0]
        averages = report.explain_user(model, data, raw).shares
        for label, shares in (
            ("the model, on average", list(averages.values())),
            ("planted taste", truth.user_weights[row]),
        ):
            (line,) = [line for line in part.splitlines() if label in line]
            assert re.findall(r"-?\d+%", line) == [f"{share:.0%}" for share in shares]


def test_recommendations_are_marked_as_seen_exactly_where_test_has_them(made):
    data = Dataset(made.out / "data")
    model = Run(made.out / "runs" / "mmgcn").model(data)
    found = 0
    for raw in data.users.raw:
        user = report.explain_user(model, data, raw)
        row = data.users.row(raw)
        items = {
            split: set(data.interactions(split).item[data.interactions(split).user == row])
            for split in ("train", "valid", "test")
        }
        recommended = {data.items.row(item.item) for item in user.recommended}
        assert not recommended & (items["train"] | items["valid"])
        assert {data.items.row(item) for item in user.found} == recommended & items["test"]
        assert user.num_held_out == len(items["test"])
        found += len(user.found)
    assert found > 0


def test_the_seen_titles_are_the_latest_of_train(made):
    data = Dataset(made.out / "data")
    model = Run(made.out / "runs" / "popularity").model(data)
    user = report.explain_user(model, data, data.users.raw_id(7), num_seen=3)
    log = data.log.filter((pl.col("user") == 7) & (pl.col("split") == "train")).sort("timestamp")
    assert user.seen == [data.title(item) for item in reversed(log["item"].to_list()[-3:])]
    assert user.shares == {}  # the score of popularity is not a sum of modalities


def test_the_page_loads_nothing_and_holds_every_section(made):
    html = made.page.read_text()
    parsed = Loads(html)
    assert all(address.startswith("#") for address in parsed.addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "script" not in parsed.tags
    assert parsed.tags.count("svg") == 5  # recall, precision, ndcg, loss, validation
    assert parsed.tags.count("caption") == parsed.tags.count("table")
    for heading in ("Results", "Learning curves", "and why", "The data", "How it was made"):
        assert heading in html
    evaluation = Run(made.out / "runs" / "mf").evaluation()
    assert evaluation.fingerprint in html
    assert Dataset(made.out / "data").manifest.content_hash in html


def test_every_chart_has_a_description_and_no_fixed_ink(made):
    charts = re.findall(r"<svg.*?</svg>", made.page.read_text(), re.DOTALL)
    assert len(charts) == 5
    for chart in charts:
        assert re.match(r'<svg role="img" aria-label="[^"]{20,}"', chart)
        assert "viewBox" in chart[:2000]
        assert not re.search(r"fill: #|stroke: #", chart)  # every colour follows light and dark


def test_titles_are_escaped(tmp_path, made):
    source = Dataset(made.out / "data")
    with DatasetWriter(tmp_path / "data", name=f"demo {EVIL}") as writer:
        items = source.item_table.with_columns(title=pl.lit(EVIL))
        writer.write_tables(pl.DataFrame({"user_id": source.users.raw}), items, source.log)
        for name, features in source.features.items():
            writer.write_features(name, features.values, features.present)
        writer.finish(provenance={"source": EVIL})
    data = Dataset(tmp_path / "data")
    run = api.train("vbpr", data, out=tmp_path / "run", num_epochs=1, progress=False)
    api.evaluate(run)
    users = [report.explain_user(run.model(data), data, data.users.raw_id(0), taste={EVIL: 1.0})]
    report.write_report(tmp_path / "page.html", [run], data, users=users, explained_by=EVIL, notes=[EVIL])
    html = (tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "script" not in Loads(html).tags
    assert html.count("&lt;script&gt;") > 10


def test_the_page_shows_what_the_model_has_learned_about_users_and_items(tmp_path, made):
    data = Dataset(made.out / "data")
    run = api.train("ludp", data, out=tmp_path / "run", num_epochs=1, dim=8, progress=False)
    api.evaluate(run)
    user = report.explain_user(run.model(data), data, data.users.raw_id(3), k=2)
    report.write_report(tmp_path / "page.html", [run], data, users=[user], explained_by="LUDP")
    html = (tmp_path / "page.html").read_text()
    findings = [*user.about, *(finding for each in user.about_items.values() for finding in each)]
    assert [finding.topic for finding in findings] == [
        "what sets the user's items apart",
        *["weights of the modalities"] * 3,
    ]
    shown = re.findall(r"<dt>([^<]*)</dt><dd><span class=\"bar[^>]*></span>([-\d.]+)</dd>", html)
    assert shown == [(each.key, f"{each.weight:.4f}") for finding in findings for each in finding.weights]
    assert html.count("what LUDP has learned about this item") == 2


def test_the_demo_replaces_an_earlier_one_and_gives_the_same_numbers(tmp_path):
    def once() -> list[str]:
        demo.run_demo(tmp_path / "demo", catalogue=TINY, changes={"num_epochs": 1}, console=Console(quiet=True))
        return [(tmp_path / "demo" / "runs" / name / "test.json").read_text() for name in demo.TRAINING]

    assert once() == once()


def test_the_demo_replaces_nothing_else(tmp_path):
    (tmp_path / "data").mkdir()
    mine = tmp_path / "data" / "manifest.json"
    mine.write_text(json.dumps({"name": "mine", "provenance": {"source": "csv"}}))
    with pytest.raises(InputError, match="not the folder of an earlier demo"):
        demo.run_demo(tmp_path)
    assert [path.name for path in Path(tmp_path / "data").iterdir()] == ["manifest.json"]


def test_the_users_who_are_shown_are_chosen_by_their_planted_taste(made):
    data = Dataset(made.out / "data")
    weights = planted(data).user_weights
    rows = demo._typical_users(data, weights)
    enough = data.test.items_per_user() >= demo.LEAST_HELD_OUT
    assert enough.sum() > 1
    assert abs(weights[rows[0], 0] - 2 / 3) == abs(weights[enough, 0] - 2 / 3).min()


def test_a_report_needs_runs_of_one_protocol(tmp_path, made):
    data = Dataset(made.out / "data")
    with pytest.raises(InputError, match="at least one run"):
        report.write_report(tmp_path / "page.html", [], data)
    run = Run(made.out / "runs" / "mf")
    with pytest.raises(InputError, match="medley evaluate"):
        load_results([run], split="valid")


def test_the_picture_of_the_terminal_loads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CATALOGUE", TINY.model_dump(exclude={"name"}))
    monkeypatch.setattr(demo, "COMMON", {"num_epochs": 1})
    monkeypatch.setattr(
        "sys.argv", ["medley", "demo", "--out", str(tmp_path / "demo"), "--svg", str(tmp_path / "demo.svg")]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    svg = (tmp_path / "demo.svg").read_text()
    assert "MMGCN" in svg
    assert "url(http" not in svg.replace('"', "")
    assert (tmp_path / "demo" / "report.html").exists()
