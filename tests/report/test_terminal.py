"""What is printed: text as it is, numbers whole, tables that fit."""

import io
import re

import pytest
from rich.console import Console

from medley.report import terminal

METRICS = {f"{name}@{k}": 0.12345 for name in ("precision", "recall", "ndcg", "hit_rate") for k in (10, 20)}


@pytest.fixture
def at(monkeypatch):
    """Prints to a terminal of a given width, and returns the text."""

    def at(width: int, show, *arguments, **options) -> str:
        printed = io.StringIO()
        console = Console(file=printed, width=width, markup=False, emoji=False, highlight=False)
        monkeypatch.setattr(terminal, "console", lambda: console)
        show(*arguments, **options)
        return printed.getvalue()

    return at


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("num_runs", [1, 2, 7, 20])
def test_no_number_is_cut_however_many_runs_are_compared(at, width, num_runs):
    columns = {f"{n}. a-run-with-a-long-name-{n}": METRICS for n in range(num_runs)}
    shown = at(width, terminal.show_columns, "test split", columns)
    assert "…" not in shown and len(re.findall(r"0\.123[45]", shown)) == num_runs * len(METRICS)
    assert max(map(len, shown.splitlines())) <= width


def test_text_of_the_user_is_never_markup_or_an_emoji(at):
    texts = ["[bold]id[/bold]", "[/]", ":smile:", "a [link=x]b", "[red]"]
    shown = at(120, terminal.show_table, "[i]title[/i]", ("[b]x[/b]", "n"), [(text, 1) for text in texts])
    for text in (*texts, "[i]title[/i]", "[b]x[/b]"):
        assert text in shown


def test_a_long_text_is_folded_not_cut(at):
    shown = at(60, terminal.show_table, "", ("item", "score"), [("x" * 150, 0.5)])
    assert shown.count("x") == 150 and "0.5000" in shown and "…" not in shown


def test_a_table_in_a_pipe_is_whole_and_without_lines(capsys):
    terminal.show_table("title", ("item", "score"), [("x" * 300, 0.5)])
    shown = capsys.readouterr().out
    assert "x" * 300 in shown and not re.search("[│┃━─]", shown)


def test_columns_of_numbers_are_right_aligned_and_others_left(at):
    shown = at(80, terminal.show_table, "", ("number", "text"), [(1, "1 user"), (1000, "22,611 users"), (None, "b")])
    rows = [line for line in shown.splitlines() if "user" in line]
    assert (
        rows[0].index("  1 user") == rows[1].index("  22,611")
        and rows[0].startswith("      1")
        and rows[1].startswith("  1,000")
    )


def test_a_cell_shows_four_digits_separators_and_a_dash_for_nothing():
    assert [terminal.cell(value) for value in (0.123456, 12345, None, True, "x")] == [
        "0.1235",
        "12,345",
        "-",
        "True",
        "x",
    ]
