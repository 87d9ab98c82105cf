"""Columns of every type that parquet, pandas and Spark bring are read where their meaning is clear, else refused."""

import datetime as dt
import decimal
import json
import uuid
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import series

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.sources.tables import Columns, Table, read_catalogue, read_log, read_table
from medley.errors import InputError

MOMENT = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
SECONDS = 1_717_243_200


def table(**columns: pl.Series | list) -> Table:
    frame = pl.DataFrame(columns)
    return Table("log", frame, np.arange(1, len(frame) + 1))


IDS = {
    "whole numbers": (pl.Series([7, 12]), ["7", "12"]),
    "unsigned": (pl.Series([2**64 - 1, 1], dtype=pl.UInt64), ["18446744073709551615", "1"]),
    "wide": (pl.Series([2**100, 1], dtype=pl.Int128), [str(2**100), "1"]),
    "whole floats": (pl.Series([7.0, 12.0]), ["7", "12"]),
    "negative zero": (pl.Series([-0.0, 12.0], dtype=pl.Float32), ["0", "12"]),
    "truth values": (pl.Series([True, False]), ["true", "false"]),
    "text": (pl.Series([" a", "7.0"]), ["a", "7.0"]),
    "categories": (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
    "an enumeration": (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), ["b", "a"]),
    "decimals": (pl.Series([decimal.Decimal("7.00"), decimal.Decimal(12)], dtype=pl.Decimal(9, 2)), ["7", "12"]),
    "days": (pl.Series([dt.date(2024, 6, 1), dt.date(1, 1, 3)]), ["2024-06-01", "0001-01-03"]),
}
NO_IDS = {
    "NaN": (pl.Series([1.0, float("nan")]), "row 2: user_id: expected text or a whole number, got nan"),
    "infinity": (pl.Series([1.0, float("inf")]), "row 2: user_id: expected text or a whole number, got inf"),
    "too large": (pl.Series([1.0, 1e19]), r"row 2: user_id: expected text or a whole number, got 1e\+19"),
    "rounded": (pl.Series([1.0, 2.0**53 + 2]), "row 2: user_id: .* exact up to 9,007,199,254,740,992"),
    "rounded in single precision": (pl.Series([1.0, 2.0**25], dtype=pl.Float32), "row 2: .* exact up to 16,777,216"),
    "nothing": (pl.Series([None, None]), "row 1: user_id: expected an id, got nothing, and the like in 1 more row"),
    "a far day": (pl.Series([0, 2**31 - 1], dtype=pl.Int32).cast(pl.Date), "row 2: user_id: .* the years 1 to 9999"),
    "durations": (pl.Series([dt.timedelta(1)] * 2), "user_id: expected one id per row, got Duration"),
    "lists": (pl.Series([[1], [2]]), "user_id: expected one id per row, got List"),
    "records": (pl.Series([{"a": 1}, {"a": 2}]), "user_id: expected one id per row, got Struct"),
    "bytes": (pl.Series([b"a", b"\xff"]), "user_id: expected one id per row, got Binary"),
}


@pytest.mark.parametrize("what", IDS)
def test_ids_of_any_clear_type_become_text(what):
    ids, text = IDS[what]
    assert table(user_id=ids, item_id=[1, 2]).ids("user_id").to_list() == text


@pytest.mark.parametrize("what", NO_IDS)
def test_other_ids_are_refused(what):
    ids, message = NO_IDS[what]
    with pytest.raises(InputError, match=f"^log.*{message}"):
        table(user_id=ids, item_id=[1, 2]).ids("user_id")


TIMES = {
    "moments": pl.Series([MOMENT], dtype=pl.Datetime("us", "UTC")),
    "milliseconds": pl.Series([MOMENT.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
    "nanoseconds in Tokyo": pl.Series([MOMENT]).dt.cast_time_unit("ns").dt.convert_time_zone("Asia/Tokyo"),
    "text": pl.Series(["2024-06-01T14:00:00+02:00"]),
    "categories of text": pl.Series(["2024-06-01 12:00"], dtype=pl.Categorical),
    "decimals": pl.Series([decimal.Decimal(SECONDS)], dtype=pl.Decimal(20, 3)),
    "floats": pl.Series([float(SECONDS)]),
    "numbers as text": pl.Series([f" {SECONDS} "]),
}


@pytest.mark.parametrize("what", TIMES)
def test_times_of_any_clear_type_become_seconds(what):
    times = table(user_id=[1], timestamp=TIMES[what]).times("timestamp")
    assert (times.to_list(), times.dtype) == ([SECONDS], pl.Int64)


def test_a_moment_beyond_all_calendars_is_a_number_all_the_same():
    far = table(timestamp=pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date)).times("timestamp")
    assert far.to_list() == [(2**31 - 1) * 86_400]


METADATA = {
    "lists": (pl.Series([["x", "y"]]), '["x", "y"]'),
    "records": (pl.Series([{"a": 1, "b": [dt.date(2024, 6, 1)]}]), '{"a": 1, "b": ["2024-06-01"]}'),
    "arrays": (pl.Series([[1.5, float("nan")]], dtype=pl.Array(pl.Float64, 2)), "[1.5, null]"),
    "days": (pl.Series([dt.date(2024, 6, 1)]), "2024-06-01"),
    "durations": (pl.Series([dt.timedelta(days=1, hours=2)]), "1 day, 2:00:00"),
    "clocks": (pl.Series([dt.time(12)]), "12:00:00"),
    "categories": (pl.Series(["a"], dtype=pl.Categorical), "a"),
    "bytes of text": (pl.Series(["é".encode()]), "é"),
    "years": (pl.Series([1984]), "1984"),
    "years as floats": (pl.Series([1984.0]), "1984"),
    "prices": (pl.Series([decimal.Decimal("9.90")], dtype=pl.Decimal(9, 2)), "9.9"),
}


@pytest.mark.parametrize("what", METADATA)
def test_titles_are_text_whatever_their_column_holds(what):
    values, title = METADATA[what]
    catalogue = read_catalogue(table(item_id=[1], film_title=values), Columns(), kind="item")
    assert catalogue.frame.rows() == [("1", title)] and not catalogue.notes


def test_metadata_that_cannot_be_shown_is_lost_and_counted():
    items = table(item_id=[1, 2, 3], cover=[b"\xff", b"ok", None], share=[0.5, float("inf"), float("nan")], n=[1, 2, 3])
    catalogue = read_catalogue(items, Columns(), kind="item")
    assert catalogue.frame.rows() == [("1", None, 0.5, 1), ("2", "ok", None, 2), ("3", None, None, 3)]
    assert catalogue.notes == {"metadata_lost_in_cover": 1, "metadata_lost_in_share": 1}


def test_identifiers_of_python_and_records_of_pandas_are_read():
    pd = pytest.importorskip("pandas")
    who = uuid.UUID(int=7)
    items = pd.DataFrame({"item_id": [1, 2], "tags": [{"a": 1}, None]})
    data = Dataset.from_frames({"user_id": [who, who], "item_id": [1, 2]}, items=items)
    assert data.users.raw.to_list() == [str(who)]
    assert data.item_table["tags"].to_list() == ['{"a": 1}', None]
    with pytest.raises(InputError, match="user_id: expected one value per row"):
        Dataset.from_frames({"user_id": [{"a": 1}], "item_id": [1]})


TYPES = [
    *(pl.Int8, pl.Int64, pl.UInt64, pl.Int128, pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Binary, pl.Null),
    *(pl.Date, pl.Time, pl.Datetime("ms"), pl.Datetime("ns"), pl.Datetime("us", "Asia/Tokyo"), pl.Duration("ns")),
    *(pl.Categorical, pl.Enum(["a", "b"]), pl.Decimal(12, 2), pl.Decimal(38, 0), pl.List(pl.Int64)),
    *(pl.Array(pl.Float32, 2), pl.Struct({"a": pl.Int64, "b": pl.List(pl.Date)}), pl.List(pl.Struct({"x": pl.Binary}))),
]


@st.composite
def columns(draw, *names: str) -> pl.DataFrame:
    drawn = {}
    for name in names:
        likely = [pl.Int64, pl.String, pl.Float64] if name in ("user_id", "item_id") else TYPES
        dtype = draw(st.one_of(st.sampled_from(likely), st.sampled_from(TYPES)))
        drawn[name] = draw(series(dtype=dtype, min_size=3, max_size=3, allow_null=draw(st.booleans()))).alias(name)
    return pl.DataFrame(drawn)


@settings(max_examples=700, suppress_health_check=list(HealthCheck))
@given(log=columns("user_id", "item_id", "timestamp", "rating"), items=columns("item_id", "film_title", "name", "more"))
def test_no_table_of_parquet_ends_in_a_crash(tmp_path, log, items):
    path = tmp_path / "interactions.parquet"
    log.write_parquet(path)
    try:
        read = read_log(read_table(path), Columns())
        assert read["user_id"].dtype == read["item_id"].dtype == pl.String
        assert read["timestamp"].dtype in (pl.Int64, pl.Float64) and read["rating"].dtype == pl.Float64
    except InputError as error:
        assert path.name in str(error) and "\n" not in str(error)
    items.write_parquet(path)
    try:
        catalogue = read_catalogue(read_table(path), Columns(), kind="item")
    except InputError as error:
        assert path.name in str(error)
        return
    assert catalogue.frame["title"].dtype == pl.String
    json.dumps(catalogue.frame.to_dicts(), allow_nan=False)
    catalogue.frame.write_parquet(path)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(log=columns("user_id", "item_id", "timestamp"))
def test_an_import_of_any_table_is_a_data_set_or_an_input_error(tmp_path, log):
    path = tmp_path / "log.parquet"
    log.write_parquet(path)
    try:
        data = import_dataset("parquet", path, tmp_path / "out", overwrite=True)
    except InputError:
        return
    assert 1 <= sum(data.manifest.num_interactions.values()) <= 3


def parts(folder: Path) -> Path:
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.snappy.parquet.crc").write_bytes(b"x")
    for number, user in ((1, "bob"), (0, "ann")):
        frame = pl.DataFrame({"user_id": [user], "item_id": pl.Series([number], dtype=(pl.Int32, pl.Int64)[number])})
        frame.write_parquet(folder / f"part-0000{number}.snappy.parquet")
    return folder


def test_a_folder_of_parts_is_one_table_in_the_order_of_their_names(tmp_path):
    folder = parts(tmp_path / "interactions.parquet")
    read = read_table(folder)
    assert read.frame.rows() == [("ann", 0), ("bob", 1)] and read.line.tolist() == [1, 2]
    text = tmp_path / "interactions.csv"
    text.mkdir()
    for number, content in enumerate(("user_id,item_id\nann,0\n", "", "user_id,item_id\nbob,1\n")):
        (text / f"part-{number}.csv").write_text(content)
    assert read_table(text).frame.rows() == [("ann", "0"), ("bob", "1")]


def test_parts_that_do_not_fit_are_refused(tmp_path):
    folder = parts(tmp_path / "log.parquet")
    pl.DataFrame({"user_id": ["eve"]}).write_parquet(folder / "part-2.parquet")
    with pytest.raises(InputError, match=r"part-2.parquet: parts with different columns"):
        read_table(folder)
    pl.DataFrame({"user_id": ["eve"], "item_id": [[1]]}).write_parquet(folder / "part-2.parquet")
    with pytest.raises(InputError, match=r"log.parquet: parts with different types"):
        read_table(folder)
    (folder / "year=2024").mkdir()
    with pytest.raises(InputError, match=r"folders of parts: got year=2024. Remedy: .*partitionBy"):
        read_table(folder)
    (tmp_path / "empty.parquet").mkdir()
    with pytest.raises(InputError, match="no parts"):
        read_table(tmp_path / "empty.parquet")
