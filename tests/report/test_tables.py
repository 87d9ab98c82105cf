"""Tables: every format is read back by another reader than the code that wrote it."""

import csv
import io
import xml.etree.ElementTree as ET

import pytest

from medley.errors import InputError
from medley.report.tables import (
    Cell,
    Row,
    Table,
    column_title,
    render,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_terminal,
)
from medley.report.terminal import console

TABLE = Table(
    "Scores on A & B",
    ("recall@20", "cold_recall@20", "parameters"),
    (
        Row("EASE^R", {"recall@20": Cell(0.123456789, 0.00321, "best"), "parameters": Cell(1234567)}),
        Row("x|y_<z>", {"recall@20": Cell(0.1, float("nan"), "second"), "cold_recall@20": Cell(float("nan"))}),
        Row("mmgcn", {"recall@20": Cell(0.552)}, elsewhere="MMGCN, Table 2. Selection: not said"),
    ),
    caption="Test, all unseen items",
)


def test_csv_keeps_full_precision_spread_and_marks():
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert [row["model"] for row in rows] == ["EASE^R", "x|y_<z>", "mmgcn"]
    assert float(rows[0]["recall@20"]) == 0.123456789 and float(rows[0]["recall@20 std"]) == 0.00321
    assert [row["recall@20 mark"] for row in rows] == ["best", "second", ""]
    assert rows[1]["recall@20 std"] == "" and rows[1]["cold_recall@20"] == "" and rows[0]["parameters"] == "1234567"
    assert [row["measured elsewhere"] for row in rows] == ["", "", "MMGCN, Table 2. Selection: not said"]


def test_html_is_well_formed_and_holds_every_cell():
    root = ET.fromstring(to_html(TABLE).replace("<br>", "<br/>"))
    cells = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    assert cells[0] == ["model", "Recall@20", "Cold recall@20", "parameters"]
    assert cells[1] == ["EASE^R", "0.1235 ± 0.0032", "\u2013", "1,234,567"]
    assert cells[2] == ["x|y_<z>", "0.1000", "\u2013", "\u2013"]
    assert cells[3][0] == "mmgcn [1]"
    assert [each.text for each in root.iter("strong")] == ["0.1235 ± 0.0032"]
    assert [each.text for each in root.iter("u")] == ["0.1000"]
    assert "[1] Measured elsewhere: MMGCN, Table 2. Selection: not said" in "".join(root.itertext())


def test_markdown_has_one_cell_per_column_whatever_the_labels_hold():
    lines = [line for line in to_markdown(TABLE).splitlines() if line.startswith("|")]
    unescaped = [line.replace(r"\|", "") for line in lines]
    assert [line.count("|") for line in unescaped] == [5] * 5
    assert "**0.1235 ± 0.0032**" in lines[2] and "*0.1000*" in lines[3] and r"x\|y\_\<z\>" in lines[3]


def test_latex_escapes_and_marks():
    text = to_latex(TABLE)
    assert r"\caption{Scores on A \& B}" in text
    assert r"EASE\textasciicircum{}R & \textbf{0.1235 $\pm$ 0.0032} & -- & 1,234,567 \\" in text
    assert r"x|y\_<z> & \underline{0.1000}" in text
    assert text.count(r"\midrule") == 2  # below the head, and above what was measured elsewhere
    assert text.count("{") == text.count("}")


def test_the_terminal_shows_marks_without_styles_in_a_pipe(capsys):
    console().print(to_terminal(TABLE))
    out = capsys.readouterr().out
    assert "0.1235 ± 0.0032 *" in out and "0.1000 +" in out and "* best, + second best" in out
    assert "[1] Measured elsewhere" in out


def test_a_table_without_marks_does_not_explain_marks():
    plain = Table("t", ("recall@20",), (Row("a", {"recall@20": Cell(0.1)}),))
    assert plain.footnotes() == []
    assert "best" not in to_markdown(plain)


def test_a_cell_of_an_unknown_column_and_an_unknown_format_are_refused():
    with pytest.raises(InputError, match="cells of 'a': expected recall@20, got recall@10"):
        Table("t", ("recall@20",), (Row("a", {"recall@10": Cell(0.1)}),))
    with pytest.raises(InputError, match="expected markdown or latex or csv or html, got 'word'"):
        render(TABLE, "word")


@pytest.mark.parametrize(
    ("name", "title"),
    [("ndcg@20", "NDCG@20"), ("cold_recall@5", "Cold recall@5"), ("CPU s", "CPU s"), ("parameters", "parameters")],
)
def test_titles_of_columns(name, title):
    assert column_title(name) == title
