"""Whatever the csv module writes is read back; no bytes end in anything but rows or an InputError."""

import csv
import io

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from medley.data.sources.tables import Columns, read_log, read_table
from medley.data.sources.text import TextForm
from medley.errors import InputError

SEPARATORS = [",", ";", "\t", "|", " ", "::", "||", "§", "~~~"]
TEXT = st.text(st.sampled_from("ab1 é\"',;|\t:§~\\"), max_size=6)
LONG = st.text(st.sampled_from("ab1 é\"',;|\t:§~\n\r"), max_size=8)
ANY = settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(rows, separator: str, quoting: int, end: str) -> str:
    out = io.StringIO(newline="")
    for row in rows:
        line = io.StringIO(newline="")
        csv.writer(line, delimiter="\x1f", quoting=quoting, lineterminator=end).writerow(row)
        out.write(line.getvalue())
    return out.getvalue().replace("\x1f", separator)


def expected(rows):
    """An empty field is null."""
    return [tuple(field or None for field in row) for row in rows]


@ANY
@given(
    rows=st.integers(2, 4).flatmap(lambda width: st.lists(st.tuples(*[TEXT] * width), min_size=1, max_size=6)),
    separator=st.sampled_from(SEPARATORS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quote_all=st.booleans(),
    last=st.booleans(),
)
def test_rows_of_one_line_are_read_back(tmp_path, rows, separator, end, quote_all, last):
    rows = [tuple(field.strip("\x1f") for field in row) for row in rows]
    if not quote_all:  # the csv module does not know that this separator needs quotes
        assume(not any(letter in field for row in rows for field in row for letter in (separator, separator[0])))
    header = tuple(f"c{place}" for place in range(len(rows[0])))
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    content = written([header, *rows], separator, quoting, end)
    path = tmp_path / "a.csv"
    path.write_text(content if last else content.removesuffix(end), newline="")
    blank = [all(not field.strip(" \t") for field in row) and not quote_all for row in rows]
    assume(not any(blank))
    try:
        table = read_table(path, TextForm(separator))
    except InputError as error:  # single quotes by chance
        assert "look like rows" in str(error)
        assume(False)
    if "quotes_read_as_text" not in table.notes:
        assert table.frame.columns == list(header)
        assert table.frame.rows() == expected(rows)
    assert len(table.frame) == len(rows)
    assert table.line.tolist() == list(range(2, len(rows) + 2))


@ANY
@given(
    rows=st.integers(2, 4).flatmap(lambda width: st.lists(st.tuples(*[LONG] * width), min_size=1, max_size=6)),
    separator=st.sampled_from([",", ";"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_fields_over_several_lines_are_read_back_and_counted(tmp_path, rows, separator, end):
    header = tuple(f"c{place}" for place in range(len(rows[0])))
    path = tmp_path / "a.csv"
    path.write_text(written([header, *rows], separator, csv.QUOTE_ALL, end), newline="")
    try:
        table = read_table(path, TextForm(separator))
    except InputError as error:
        assert "look like rows" in str(error)
        return
    assert table.frame.rows() == expected(rows)
    several = sum(any("\n" in field or "\r" in field for field in row) for row in rows)
    assert table.notes.get("fields_over_several_lines", 0) == several


@ANY
@given(
    rows=st.integers(2, 4).flatmap(lambda width: st.lists(st.tuples(*[TEXT] * width), min_size=1, max_size=6)),
    separator=st.sampled_from(SEPARATORS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_without_quotes_a_line_is_a_row(tmp_path, rows, separator, end):
    assume(not any(letter in field for row in rows for field in row for letter in separator))
    assume(all(any(field.strip(" \t") for field in row) for row in rows))
    header = tuple(f"c{place}" for place in range(len(rows[0])))
    path = tmp_path / "a.csv"
    path.write_text("".join(separator.join(row) + end for row in [header, *rows]), newline="")
    table = read_table(path, TextForm(separator, quote=None))
    assert table.frame.rows() == expected(rows)


PIECES = [
    *(
        "user_id",
        "item_id",
        "timestamp",
        "rating",
        "a",
        "1",
        "2.5",
        "3,5",
        "2024-06-01",
        "x y",
        "é",
        "nan",
        "-",
        "\x00",
    ),
    *(",", ",", ",", "\t", ";", "::", '"', '"', "'", "\\", "\n", "\n", "\n", "\r", "\r\n", " ", "{", "[", "]", "}"),
]


@settings(max_examples=1_500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=30),
    head=st.sampled_from(["user_id,item_id\n", "user_id\titem_id\trating\n", "user_id,item_id,timestamp\r\n", ""]),
    name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.json"]),
    encoding=st.sampled_from(["utf-8", "latin-1", "utf-16"]),
    form=st.builds(
        TextForm,
        separator=st.sampled_from([None, ",", "\t", "::", " ", r"\s+"]),
        header=st.sampled_from([True, False, ("user_id", "item_id")]),
        encoding=st.sampled_from(["utf-8", "latin-1", "utf-16"]),
        quote=st.sampled_from(['"', "'", None]),
        decimal=st.sampled_from([".", ","]),
        date_format=st.sampled_from([None, "%Y-%m-%d", "%d/%m/%Y"]),
        on_error=st.sampled_from(["refuse", "skip"]),
    ),
)
def test_no_bytes_end_in_a_crash(tmp_path, pieces, head, name, encoding, form):
    path = tmp_path / name
    path.write_bytes((head + "".join(pieces)).encode(encoding))
    try:
        table = read_table(path, form)
        log = read_log(table, Columns("1", "2") if form.header is False else Columns())
    except InputError as error:
        assert str(error).strip()
        return
    assert len(log) <= len(table.frame) == len(table.line)
    assert log["user_id"].null_count() == log["item_id"].null_count() == 0


def test_a_big_plain_file_takes_the_fast_way(tmp_path, monkeypatch):
    from medley.data.sources import quotes

    monkeypatch.setattr(quotes, "_careful", pytest.fail)
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id,title\n" + '1,2,"x, ""y"""\n' * 3)
    assert read_table(path).frame["title"].to_list() == ['x, "y"'] * 3
    path.write_text("user_id,item_id,title\n" + "1,2,\n" * 3)
    assert read_table(path).frame["title"].to_list() == [None] * 3
