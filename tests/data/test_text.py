"""Text tables as people have them: each case is bytes, a form, and the rows or the error."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.data.messages import has_in_order

from medley.data.sources.tables import Columns, Table, read_catalogue, read_log, read_table
from medley.data.sources.text import TextForm
from medley.errors import InputError

LOG = b"user_id,item_id\nann,x\nbob,y\n"
PAIRS = [("ann", "x"), ("bob", "y")]
FOUR = b"0,4,1600000000,4\n1,5,1600000000,4\n"
TIMES = "user_id,item_id,timestamp\n"
REVIEWS = b"user_id\titem_id\ttext\n" + b"".join(
    b"%d\t%d\t%s\n" % (row, row, {5: b'"begins here', 40: b'ends here"'}.get(row, b"-")) for row in range(60)
)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, LOG)
    return file.getvalue()


def read(folder: Path, name: str, content: bytes | str, form: TextForm) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, form)


class Rows(NamedTuple):
    what: str
    name: str
    content: bytes | str
    rows: list[tuple[Any, ...]]  # user, item, and timestamp and rating if there are any
    form: TextForm = TextForm()
    lines: list[int] | None = None
    notes: dict[str, int] = {}  # noqa: RUF012
    columns: Columns = Columns()
    skipped: int = 0


READ = [
    Rows("commas", "a.csv", LOG, PAIRS, lines=[2, 3]),
    Rows("capital suffix", "LOG.CSV", LOG, PAIRS),
    Rows("tabs", "a.Tsv", LOG.replace(b",", b"\t"), PAIRS),
    Rows("commas in a .txt", "a.txt", LOG, PAIRS),
    Rows("tabs in a .dat", "a.dat", LOG.replace(b",", b"\t"), PAIRS),
    Rows("no suffix", "log", LOG.replace(b",", b"|"), PAIRS),
    Rows("blanks in a .txt", "a.txt", LOG.replace(b",", b" "), PAIRS),
    Rows("runs of blanks", "a.data", b" user_id   item_id\nann\t x  \n bob y\n", PAIRS),
    Rows("runs of blanks, quoted", "a", b"'user_id'  item_id\n'ann b'  x\nbob   y\n", [("ann b", "x"), ("bob", "y")],
         TextForm(r"\s+", quote="'")),
    Rows("semicolons", "a.csv", LOG.replace(b",", b";"), PAIRS, TextForm(";")),
    Rows("semicolons and decimal commas", "a.csv", "user_id;item_id;timestamp;rating\na;x;5;4,5\n",
         [("a", "x", 5, 4.5)], TextForm(";", decimal=",")),
    Rows("double colons", "a.dat", b"1::2::5::3\n1::3::6::4\n", [("1", "2"), ("1", "3")], TextForm(header=False),
         columns=Columns("1", "2"), lines=[1, 2]),
    Rows("double bars", "a.csv", LOG.replace(b",", b"||"), PAIRS, TextForm("||")),
    Rows("a tab as people type it", "a.csv", LOG.replace(b",", b"\t"), PAIRS, TextForm("\\t")),
    Rows("a sign of two bytes", "a.csv", LOG.decode().replace(",", "§"), PAIRS, TextForm("§")),
    Rows("no header", "a.csv", FOUR, [("0", "4", 1600000000, 4), ("1", "5", 1600000000, 4)],
         TextForm(header=False), columns=Columns("1", "2", "3", "4")),
    Rows("no header but names", "a.csv", FOUR, [("0", "4", 1600000000, 4), ("1", "5", 1600000000, 4)],
         TextForm(header=("user_id", "item_id", "timestamp", "rating")), lines=[1, 2]),
    Rows("carriage returns", "a.csv", LOG.replace(b"\n", b"\r"), PAIRS, lines=[2, 3]),
    Rows("lines of Windows", "a.csv", LOG.replace(b"\n", b"\r\n"), PAIRS, lines=[2, 3]),
    Rows("lines ended twice", "a.csv", LOG.replace(b"\n", b"\r\r\n"), PAIRS, lines=[3, 5]),
    Rows("mixed line ends", "a.csv", b"user_id,item_id\rann,x\r\n\n\nbob,y", PAIRS, lines=[2, 5]),
    Rows("mixed line ends and quotes", "a.csv", b'user_id,item_id\r"ann",x\r\n\n\nbob,y', PAIRS, lines=[2, 5]),
    Rows("blank lines everywhere", "a.csv", b"\n  \nuser_id,item_id\n\nann,x\n \t\nbob,y\n\n", PAIRS, lines=[5, 7]),
    Rows("no line end at the end", "a.csv", LOG.rstrip(), PAIRS),
    Rows("a byte order mark", "a.csv", LOG.decode().encode("utf-8-sig"), PAIRS),
    Rows("latin-1", "a.csv", "user_id,item_id\nRené,x\n".encode("latin-1"), [("René", "x")],
         TextForm(encoding="latin-1")),
    Rows("cp1252", "a.csv", "user_id,item_id\n“q”,x\n".encode("cp1252"), [("“q”", "x")], TextForm(encoding="cp1252")),
    Rows("UTF-16 with a mark", "a.csv", LOG.decode().encode("utf-16"), PAIRS),
    Rows("UTF-16 with a mark, said", "a.csv", LOG.decode().encode("utf-16"), PAIRS, TextForm(encoding="utf-16")),
    Rows("UTF-16 without a mark", "a.csv", LOG.decode().encode("utf-16-be"), PAIRS, TextForm(encoding="utf-16")),
    Rows("UTF-32 with a mark", "a.csv", LOG.decode().encode("utf-32"), PAIRS),
    Rows("a long field", "a.csv", b'user_id,item_id,text\nann,x,"' + b"y," * 200_000 + b'\n"\nbob,y,\n', PAIRS,
         notes={"fields_over_several_lines": 1}),
    Rows("gzip", "a.csv.gz", gzip.compress(LOG), PAIRS),
    Rows("gzip called csv", "a.csv", gzip.compress(LOG), PAIRS),
    Rows("bzip2", "A.CSV.BZ2", bz2.compress(LOG), PAIRS),
    Rows("xz without a suffix", "a", lzma.compress(LOG), PAIRS),
    Rows("a zip of one", "a.zip", zipped("x/log.csv", "__MACOSX/x/._log.csv"), PAIRS),
    Rows("tabs in gzip", "a.tsv.gz", gzip.compress(LOG.replace(b",", b"\t")), PAIRS),
    Rows("an array of objects", "a.json", '[{"user_id": 1, "item_id": "x"}, {"user_id": 2.0, "item_id": "y"}]',
         [("1", "x"), ("2", "y")]),
    Rows("an object per line", "a.jsonl",
         '{"user_id":1,"item_id":"x"}\n\n{"user_id":12345678901234567890,"item_id":"y"}',
         [("1", "x"), ("12345678901234567890", "y")], lines=[1, 3]),
    Rows("objects in gzip", "a.ndjson.gz", gzip.compress(b'{"user_id":true,"item_id":"x","rating":3}\n'),
         [("true", "x", 3)]),
    Rows("quotes that begin fields of a .tsv", "a.tsv", REVIEWS, [(str(row), str(row)) for row in range(60)],
         notes={"quotes_read_as_text": 1}),
    Rows("quotes that are text", "a.csv", REVIEWS.replace(b"\t", b","), [(str(row), str(row)) for row in range(60)],
         TextForm(quote=None)),
    Rows("a quoted .tsv", "a.tsv", b'"user_id"\t"item_id"\n"ann"\t"x ""1"""\n', [("ann", 'x "1"')]),
    Rows("a quoted .tsv over lines", "a.tsv", b'user_id\titem_id\nann\t"x\ny"\nbob\t"y\ty"\n',
         [("ann", "x\ny"), ("bob", "y\ty")], lines=[2, 4], notes={"fields_over_several_lines": 1}),
    Rows("quotes by a backslash", "a.csv", b'user_id,item_id\n"ann","x \\"1\\", 2"\n', [("ann", 'x "1", 2')]),
    Rows("a text over two lines", "a.csv", b'user_id,item_id\nann,"x\nin Paris, y"\n', [("ann", "x\nin Paris, y")],
         notes={"fields_over_several_lines": 1}),
    Rows("zones of every kind", "a.csv", TIMES + "a,x,1970-01-02T00:00:00Z\na,x,1970-01-02T00:00:00\na,x,1970-01-02\n"
         "a,x,1970-01-02 02:00+02:00\na,x,\na,x,1970-01-01T12:00:00.0-1200\n",
         [("a", "x", None if row == 4 else 86_400) for row in range(6)]),
    Rows("a time that is absent first", "a.csv", TIMES + "a,x,\na,y,1970-01-02\n",
         [("a", "x", None), ("a", "y", 86_400)]),
    Rows("times in a format", "a.csv", TIMES + "a,x,2/1/1970\na,y,02/01/1970\n",
         [("a", "x", 86_400), ("a", "y", 86_400)],
         TextForm(date_format="%d/%m/%Y")),
    Rows("times in a format with a zone", "a.csv", TIMES + "a,x,Fri Jan 02 02:00:00 +0200 1970\n", [("a", "x", 86_400)],
         TextForm(date_format="%a %b %d %H:%M:%S %z %Y")),
    Rows("fractions in a format", "a.csv", TIMES + "a,x,1970-01-01 00:00:01.5\n", [("a", "x", 1.5)],
         TextForm(date_format="%Y-%m-%d %H:%M:%S.%f")),
    Rows("days as numbers in a format", "a.csv", TIMES + "a,x,19700102\n", [("a", "x", 86_400)],
         TextForm(date_format="%Y%m%d")),
    Rows("two units", "a.csv", TIMES + "a,x,1717243200\na,y,1717243200\na,z,1717243200000\n",
         [("a", "x", 1717243200), ("a", "y", 1717243200), ("a", "z", 1717243200000)],
         notes={"times_in_another_unit": 1}),
    Rows("ids that pandas wrote as floats", "a.csv", "user_id,item_id\n7.0, x\n-8.0,1.0\n", [("7", "x"), ("-8", "1.0")],
         notes={"ids_written_as_floats": 2}),
    Rows("ids that are versions", "a.csv", "user_id,item_id\n7.0,x\n7.1,y\n", [("7.0", "x"), ("7.1", "y")]),
    Rows("ids that mean nothing", "a.csv", "user_id,item_id\nnan,x\nann,NULL\n", [("nan", "x"), ("ann", "NULL")],
         notes={"ids_such_as_nan_or_null": 2}),
    Rows("zeros for unknown times", "a.csv", TIMES + "a,x,1717243200\na,y,1717243200\na,z,0\n",
         [("a", "x", 1717243200), ("a", "y", 1717243200), ("a", "z", 0)], notes={"times_of_zero": 1}),
    Rows("bad rows left out", "a.csv", "user_id,item_id,rating\na,x,1\na,y,good\n,z,3\na\na,z,4\n",
         [("a", "x", 1), ("a", "z", 4)], TextForm(on_error="skip"), lines=[2, 6], skipped=3),
    Rows("bad rows left out among quotes", "a.csv", 'user_id,item_id\n"a",x\na\n,y\n"b",z\n', [("a", "x"), ("b", "z")],
         TextForm(on_error="skip"), lines=[2, 5], skipped=2),
    Rows("bad times left out", "a.csv", TIMES + "a,x,n/a\na,y,1970-01-02\na,z,1970-01-02\na,z,7\n",
         [("a", "y", 86_400), ("a", "z", 86_400)], TextForm(on_error="skip"), skipped=2),
    Rows("a repeated header left out", "a.csv", LOG + LOG, PAIRS * 2, TextForm(on_error="skip"), skipped=1),
    Rows("bad objects left out", "a.jsonl", '{"user_id":1,"item_id":"x"}\n{bad\n[1]\n', [("1", "x")],
         TextForm(on_error="skip"), skipped=2),
]  # fmt: skip


@pytest.mark.parametrize("case", READ, ids=lambda case: case.what)
def test_a_table_is_read(case: Rows, tmp_path: Path):
    table = read(tmp_path, case.name, case.content, case.form)
    log = read_log(table, case.columns)
    rows = log.select(name for name in ("user_id", "item_id", "timestamp", "rating") if name in log.columns).rows()
    assert rows == case.rows
    assert (table.notes, table.skipped) == (case.notes, case.skipped)
    if case.lines is not None:
        assert log["line"].to_list() == case.lines


class Refused(NamedTuple):
    what: str
    name: str
    content: bytes | str
    message: tuple[str, ...]  # parts of the error, in this order
    form: TextForm = TextForm()
    columns: Columns = Columns()


RAR = b"Rar!\x1a\x07\x01\x00"
REFUSED = [
    Refused("no header", "a.csv", FOUR,
            ("row 1", "no header", "'0', '4', '1600000000', '4'", "header=False", "header=(")),
    Refused("no header, columns named", "a.csv", FOUR, ("row 1", "no header"), columns=Columns("0", "1600000000")),
    Refused("no header of text, columns named", "a.csv", "ann,x\nbob,y\nann,z\n", ("row 1", "no header", "'ann', 'x'"),
            columns=Columns("ann", "x")),
    Refused("no header, some text", "a.csv", "ann,x,5\nbob,y,6\n", ("no header",), columns=Columns("ann", "x")),
    Refused("a header that is said to be absent", "a.csv", LOG,
            ("row 1", "there seems to be a header", "'user_id', 'item_id'"),
            TextForm(header=False), Columns("1", "2")),
    Refused("a header and names", "a.csv", "userId,movieId\n1,2\n", ("row 1", "there seems to be a header"),
            TextForm(header=("user_id", "item_id"))),
    Refused("a header in the middle", "a.csv", LOG + LOG, ("row 4", "the header again")),
    Refused("semicolons in .csv", "a.csv", LOG.replace(b",", b";"), ('looks like ";"', 'separator=";"')),
    Refused("semicolons and ragged commas", "a.csv",
            b'"user_id";"item_id"\n"1";"x, y"\n"2";"x"\n', ('looks like ";"',)),
    Refused("tabs in .csv", "a.csv", LOG.replace(b",", b"\t"), ('looks like "\\t"', 'separator="\\t"', ".tsv")),
    Refused("commas in .tsv", "a.tsv", LOG, ('looks like ","', 'separator=","', ".csv")),
    Refused("double colons in .csv", "a.csv", b"1::2\n1::3\n", ('looks like "::"', 'separator="::"')),
    Refused("the wrong separator said", "a.csv", b"user_id;a,b\n1;2\n1;3\n", ('looks like ";"',), TextForm(",")),
    Refused("an unclear separator", "a.txt", "1;2;3,5\n1;2;3,5\n", ("unclear", '"," or ";"', "separator=")),
    Refused("no separator fits", "a.txt", "1;2;3\n1;2\n", ("unclear", "'1;2;3'", "separator=")),
    Refused("ragged rows", "a.csv", b"user_id,item_id\na,x\nb\nc\n", ("row 3", "2 fields", "got 1", "1 more row")),
    Refused("ragged rows among quotes", "a.csv",
            b'user_id,item_id\n"a",x\nb\nc\nd\n', ("row 3", "got 1", "2 more rows")),
    Refused("ragged tabs", "a.tsv", b'user_id\titem_id\n"a\tx\nb\n', ("row 3", "2 fields", "got 1")),
    Refused("many bad numbers", "a.csv", "user_id,item_id,rating\n" + "a,x,good\n" * 200,
            ("row 2", "rating", "'good'", "199 more rows")),
    Refused("a decimal comma", "a.csv", 'user_id,item_id,rating\na,x,"3,5"\n', ("row 2", "'3,5'", 'decimal=","')),
    Refused("a decimal point", "a.csv", "user_id;item_id;rating\na;x;3.5\n", ("row 2", "'3.5'"),
            TextForm(";", decimal=",")),
    Refused("latin-1", "a.csv", "user_id,item_id\nRené,x\n".encode("latin-1"),
            ("row 2", "UTF-8", "0xE9", 'encoding="latin-1"', "iconv -f LATIN1")),
    Refused("cp1252", "a.csv", "user_id,item_id\n“q”,x\n".encode("cp1252"), ("row 2", "0x93", 'encoding="cp1252"')),
    Refused("UTF-16 without a mark", "a.csv", LOG.decode().encode("utf-16-le"), ("row 1", 'encoding="utf-16-le"')),
    Refused("UTF-8 called latin-1", "a.csv", LOG.decode().encode("utf-8-sig"), ("order mark", "leave encoding out"),
            TextForm(encoding="latin-1")),
    Refused("an unknown encoding", "a.csv", LOG, ("encoding", "'klingon'"), TextForm(encoding="klingon")),
    Refused("no encoding of text", "a.csv", LOG, ("encoding", "'rot13'"), TextForm(encoding="rot13")),
    Refused("a NUL byte", "a.csv", LOG + b"c\0,z\n", ("row 4", "NUL", "0x00", "1 in the file", "tr -d")),
    Refused("Excel", "a.csv", zipped("[Content_Types].xml", "xl/x.xml"), ("spreadsheet", "export")),
    Refused("OpenDocument", "a.ods", zipped("mimetype", "content.xml"), ("spreadsheet", "export")),
    Refused("old Excel", "a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), ("spreadsheet", "export")),
    Refused("a zip of two", "a.zip", zipped("a.csv", "b.csv"), ("one file", "a.csv, b.csv")),
    Refused("rar", "a.csv", RAR, ("rar archive", "unpack")),
    Refused("a web page", "a.csv", b"<!DOCTYPE html><html>", ("web page", "download")),
    Refused("cut gzip", "a.csv.gz", gzip.compress(LOG)[:-5], ("cannot be unpacked", "cut short")),
    Refused("empty gzip", "a.csv.gz", gzip.compress(b""), ("empty",)),
    Refused("fake parquet", "a.csv", b"PAR1....", ("not a readable parquet",)),
    Refused("columns of pandas", "a.json", '{"user_id": {"0": 1}, "item_id": {"0": 2}}', ("an object", "orient=")),
    Refused("broken lines", "a.jsonl", '{"user_id": 1, "item_id": 2}\n{bad\n', ("row 2", "not valid JSON")),
    Refused("lists as ids", "a.json", '[{"user_id": [1], "item_id": 2}]', ("user_id", "one value per row")),
    Refused("numbers and times", "a.csv", TIMES + "a,x,5\na,y,2024-06-01\na,z,6\n", ("row 3", "a number in every row")),
    Refused("times and numbers", "a.csv", TIMES + "a,x,2024-06-01\na,y,5\n", ("row 3", "ISO 8601", "every row", "'5'")),
    Refused("no time at first", "a.csv", TIMES + "a,x,n/a\na,y,2024-06-01\n", ("row 2", "ISO 8601", "'n/a'")),
    Refused("days first", "a.csv", TIMES + "a,x,05/06/2024\na,y,05/07/2024\n", ("row 2", "1 more row", "date_format=")),
    Refused("not in the format", "a.csv", TIMES + "a,x,2024-06-01\n", ("row 2", "%d/%m/%Y"),
            TextForm(date_format="%d/%m/%Y")),
    Refused("a quote over rows", "a.csv", REVIEWS.replace(b"\t", b","), ("row 7", "row 42", "quote=None")),
    Refused("a lone quote", "a.csv", 'user_id,item_id\na,x\nb,5"\n', ("row 3", "quotes in pairs", "quote=None")),
    Refused("a column spelt otherwise", "a.csv", "User_ID,item_id\na,x\n", ("user column", 'user_column="User_ID"')),
    Refused("no row to read", "a.csv", "user_id,item_id\n,x\n", ("no row can be read",), TextForm(on_error="skip")),
    Refused("no separator", "a.csv", LOG, ("separator", "''"), TextForm("")),
    Refused("a quote of two letters", "a.csv", LOG, ("quote", "'ab'"), TextForm(quote="ab")),
    Refused("an unknown decimal mark", "a.csv", LOG, ("decimal", "';'"), TextForm(decimal=";")),
    Refused("too few names", "a.csv", FOUR, ("header", "4 names", "got 1"), TextForm(header=("user_id",))),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.what)
def test_a_table_is_refused_with_the_likely_cause(case: Refused, tmp_path: Path):
    with pytest.raises(InputError) as caught:
        read_log(read(tmp_path, case.name, case.content, case.form), case.columns)
    has_in_order(str(caught.value), case.message)


def test_quotes_in_titles_are_text_where_they_do_not_enclose_fields(tmp_path):
    dat = b'1::"Great" Cats::x\n2::Foo "bar"::y\n3::"A::z\n'
    table = read(tmp_path, "movies.dat", dat, TextForm(header=("item_id", "title", "genres")))
    assert read_catalogue(table, Columns(), kind="item").frame["title"].to_list() == ['"Great" Cats', 'Foo "bar"', '"A']
    assert table.notes == {"quotes_read_as_text": 2}


def test_the_reasons_for_leaving_rows_out_name_rows(tmp_path):
    content = "user_id,item_id,rating\na,x,1\na,y,good\na,z,bad\n"
    table = read(tmp_path, "a.csv", content, TextForm(on_error="skip"))
    read_log(table, Columns())
    assert table.left_out == {"a.csv: rating: expected a finite number, got rows 3 ('good'), 4 ('bad')": 2}


def test_the_title_wins_and_no_column_is_lost(tmp_path):
    books = "item_id,original_title,title,name\n1,Die Wand,The Wall,n\n"
    frame = read_catalogue(read(tmp_path, "a.csv", books, TextForm()), Columns(), kind="item").frame
    assert frame.rows(named=True) == [{"item_id": "1", "title": "The Wall", "original_title": "Die Wand", "name": "n"}]
    named = read_catalogue(read(tmp_path, "a.csv", books, TextForm()), Columns(), kind="item", title="name").frame
    assert named.rows(named=True) == [
        {"item_id": "1", "title": "n", "original_title": "Die Wand", "title_of_the_table": "The Wall"}
    ]
    other = read_catalogue(read(tmp_path, "a.csv", books, TextForm()), Columns(item="name"), kind="item").frame
    assert other.columns == ["item_id", "title", "item_id_of_the_table", "original_title"]
