"""Each kind of bad input gets one InputError that names file, row, the expected and the found value."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from tests.data.messages import has_in_order

from medley.data.importing import import_dataset
from medley.errors import InputError

LOG = "user_id,item_id\na,0\nb,1\nc,2\n"


class Case(NamedTuple):
    name: str
    build: Callable[[Path], Any]
    message: tuple[str, ...]  # parts of the error, in this order
    format: str = "csv"
    options: dict[str, Any] = {}  # noqa: RUF012


def text(*files: tuple[str, str | bytes]) -> Callable[[Path], Any]:
    """Writes these files; `interactions.csv` is LOG unless it is given."""

    def build(folder: Path) -> None:
        for name, content in files:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return build


def log(content: str | bytes) -> Callable[[Path], Any]:
    return text(("interactions.csv", content))


def features(values: Any, *more: tuple[str, str | bytes], name: str = "visual.npy") -> Callable[[Path], Any]:
    def build(folder: Path) -> None:
        text(("interactions.csv", LOG), *more)(folder)
        np.save(folder / name, values)

    return build


def raw_features(content: bytes) -> Callable[[Path], Any]:
    return text(("interactions.csv", LOG), ("visual.npy", content))


def parquet(frame: pl.DataFrame, name: str = "interactions.parquet") -> Callable[[Path], Any]:
    def build(folder: Path) -> None:
        if not name.startswith("interactions"):
            text(("interactions.csv", LOG))(folder)
        frame.write_parquet(folder / name)

    return build


def listed(folder: Path) -> None:
    text(("train.txt", "0 1 2\n"), ("test.txt", "0 1\n\n1 0 7\n"))(folder)
    np.save(folder / "v.npy", np.ones((3, 2)))


def cut_short(folder: Path) -> None:
    features(np.ones((3, 4)))(folder)
    path = folder / "visual.npy"
    path.write_bytes(path.read_bytes()[:-5])


def cut_short_parquet(folder: Path) -> None:
    path = folder / "interactions.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-9])


def with_mask(mask: np.ndarray) -> Callable[[Path], Any]:
    def build(folder: Path) -> None:
        features(np.ones((3, 2)))(folder)
        np.save(folder / "visual.present.npy", mask)

    return build


def two_modalities(folder: Path) -> None:
    features(np.ones((3, 2)))(folder)
    np.save(folder / "acoustic.npy", np.ones((4, 2)))


OK = np.ones((3, 2), dtype=np.float32)
NAN = np.array([[1, 2], [3, np.nan], [np.inf, 0]], dtype=np.float32)
SPIKE = np.array([[1, 2], [3, 4], [5, 1e9]])
INTER = "user_id:token\titem_id:token\trating:float\n"
ITEM = "item_id:token\tmood:float_seq\n"
MMREC = "userID\titemID\tx_label\n"

CASES = [
    Case(
        "missing column",
        log("user,thing\na,0\n"),
        ("interactions.csv", "item column", "'item_id'", "'user', 'thing'", "item_column"),
    ),
    Case(
        "a named column that is absent",
        log(LOG),
        ("interactions.csv", "'when'", "'user_id', 'item_id'"),
        options={"timestamp_column": "when"},
    ),
    Case(
        "a row with too many fields",
        log("user_id,item_id\na,0\nb,1,9\n"),
        ("interactions.csv, row 3", "unparsable", "2 fields", "got 3"),
    ),
    Case(
        "a row with too few fields",
        log("user_id,item_id\na,0\n\nb\nc,1\n"),
        ("interactions.csv, row 4", "unparsable", "2 fields", "got 1"),
    ),
    Case(
        "a lone quote",
        log('user_id,item_id\na,0\nb,x"1\nc,2\n'),
        ("interactions.csv, row 3", "quotes in pairs", 'b,x"1'),
    ),
    Case(
        "a quote that never ends",
        log('user_id,item_id\na,0\nb,"1\nc,2\n'),
        ("interactions.csv, row 3", "quotes in pairs"),
    ),
    Case(
        "a null id",
        log("user_id,item_id\na,0\n,1\n"),
        ("interactions.csv, row 3", "user_id", "expected an id", "got nothing"),
    ),
    Case("an id of blanks", log("user_id,item_id\na,0\nb,  \n"), ("interactions.csv, row 3", "item_id", "got nothing")),
    Case(
        "the same column twice", log("user_id, user_id,item_id\na,b,0\n"), ("interactions.csv, row 1", "distinct names")
    ),
    Case(
        "a rating that is not a number",
        log("user_id,item_id,rating\na,0,5\nb,1,good\n"),
        ("interactions.csv, row 3", "rating", "finite number", "'good'"),
    ),
    Case(
        "an infinite rating",
        log("user_id,item_id,rating\na,0,5\nb,1,inf\n"),
        ("interactions.csv, row 3", "rating", "'inf'"),
    ),
    Case(
        "a time that is not a time",
        log("user_id,item_id,timestamp\na,0,5\nb,1,soon\n"),
        ("interactions.csv, row 3", "timestamp", "'soon'"),
    ),
    Case(
        "a date that does not exist",
        log("user_id,item_id,timestamp\na,0,2024-01-31\nb,1,2024-02-31\n"),
        ("interactions.csv, row 3", "ISO 8601", "'2024-02-31'"),
    ),
    Case(
        "a missing time",
        log("user_id,item_id,timestamp\na,0,5\nb,1,\n"),
        ("interactions.csv, row 3", "timestamp", "a time"),
        options={"split": "time"},
    ),
    Case(
        "a missing rating",
        log("user_id,item_id,rating\na,0,5\nb,1,\n"),
        ("interactions.csv, row 3", "rating", "a number"),
        options={"rating_threshold": 3},
    ),
    Case(
        "no rating at all",
        log(LOG),
        ("rating_threshold", "without ratings", "rating_column"),
        options={"rating_threshold": 3},
    ),
    Case(
        "a threshold above all",
        log("user_id,item_id,rating\na,0,5\n"),
        ("no interactions are left", "rating_threshold"),
        options={"rating_threshold": 6},
    ),
    Case("a k-core of nobody", log(LOG), ("no interactions are left", "kcore"), options={"kcore": 2}),
    Case("no time to split by", log(LOG), ("split by time", "without timestamps"), options={"split": "time-user"}),
    Case("no split to keep", log(LOG), ("'given'", "without a split"), options={"split": "given"}),
    Case("an unknown split", log(LOG), ("split", "leave-one-out", "'temporal'"), options={"split": "temporal"}),
    Case(
        "an unknown label",
        log("user_id,item_id,split\na,0,train\nb,1,dev\n"),
        ("interactions.csv, row 3", "train or valid or test", "'dev'"),
    ),
    Case("ratios without train", log(LOG), ("ratios", "0:1:1", "ratios=(8, 1, 1)"), options={"ratios": (0, 1, 1)}),
    Case(
        "ratios without effect",
        log(LOG),
        ("ratios have no effect", "leave-one-out"),
        options={"ratios": (8, 1, 1), "split": "leave-one-out"},
    ),
    Case("a negative k", log(LOG), ("option 'kcore' of the import", "0 or more", "-1"), options={"kcore": -1}),
    Case("an empty file", log(""), ("interactions.csv", "empty")),
    Case("a file with blank lines only", log("\n\n"), ("interactions.csv", "empty")),
    Case("a header and no rows", log("user_id,item_id\n"), ("interactions.csv", "empty", "at least one row")),
    Case("an empty test file", text(("train.csv", LOG), ("test.csv", "")), ("test.csv", "empty")),
    Case(
        "no test file",
        text(("train.csv", LOG), ("readme.md", "hi")),
        ("no interactions", "train and test", "readme.md, train.csv"),
    ),
    Case(
        "splits and the whole",
        text(("train.csv", LOG), ("test.csv", LOG), ("interactions.csv", LOG)),
        ("not both", "interactions.csv, train.csv, test.csv"),
    ),
    Case(
        "two files for one",
        text(("interactions.csv", LOG), ("interactions.tsv", LOG)),
        ("one file", "interactions.csv, interactions.tsv"),
    ),
    Case("an empty folder", text(), ("no interactions", "an empty folder")),
    Case(
        "UTF-16 without a mark",
        log(LOG.encode("utf-16-le")),
        ("interactions.csv, row 1", "encoding", "0x00 at offset 1", "iconv -f UTF-16"),
    ),
    Case(
        "Latin-1",
        log("user_id,item_id\na,0\nRené,1\n".encode("latin-1")),
        ("interactions.csv, row 3", "encoding", "0xE9 at offset 23", "iconv -f LATIN1"),
    ),
    Case(
        "an item outside the features",
        features(OK[:2]),
        ("interactions.csv, row 4", "unknown item", "0 to 1, the rows of visual.npy", "'2'"),
    ),
    Case(
        "a negative item",
        features(OK, ("interactions.csv", LOG + "a,-1\n")),
        ("interactions.csv, row 5", "unknown item", "'-1'"),
    ),
    Case(
        "an item outside the table",
        text(("interactions.csv", LOG), ("items.csv", "item_id\n0\n1\n")),
        ("interactions.csv, row 4", "items.csv", "'2'"),
    ),
    Case(
        "a user outside the table",
        text(("interactions.csv", LOG), ("users.csv", "user_id\na\nc\n")),
        ("interactions.csv, row 3", "users.csv", "'b'"),
    ),
    Case(
        "an item twice in the table",
        text(("interactions.csv", LOG), ("items.csv", "item_id\n0\n1\n2\n1\n")),
        ("items.csv, row 5", "distinct", "'1'"),
    ),
    Case(
        "features that do not match the table",
        features(OK[:2], ("items.csv", "item_id\n0\n1\n2\n")),
        ("visual.npy", "rows of features", "3 (one per item of items.csv)", "got 2"),
    ),
    Case(
        "features that do not match each other",
        two_modalities,
        ("visual.npy", "rows of features", "4 (as many as acoustic.npy)", "got 3"),
    ),
    Case("NaN", features(NAN), ("visual.npy, row 1", "column 1", "finite number", "got nan", "present.npy")),
    Case("infinity", features(np.nan_to_num(NAN, posinf=np.inf)), ("visual.npy, row 2", "column 0", "got inf")),
    Case(
        "float16 overflow",
        features(np.where(SPIKE > 1e5, np.inf, SPIKE).astype(np.float16)),
        ("visual.npy, row 2", "column 1", "got inf", "float16", "float32"),
    ),
    Case("float32 overflow", features(SPIKE * 1e200), ("visual.npy, row 0", "column 0", "1e+200", "float32")),
    Case("one dimension", features(np.ones(3)), ("visual.npy", "shape (items, dimensions)", "(3,)")),
    Case("text as features", features(np.array([["a"], ["b"], ["c"]])), ("visual.npy", "numbers", "<U1")),
    Case("a truncated array", cut_short, ("visual.npy", "cut short")),
    Case("a truncated header", raw_features(b"\x93NUMPY\x01\x00\x76"), ("visual.npy", "cut short")),
    Case("an empty array file", raw_features(b""), ("visual.npy", "empty")),
    Case("a pickle", raw_features(pickle.dumps({"x": 1})), ("visual.npy", "a pickle where arrays are expected")),
    Case(
        "an old pickle",
        raw_features(pickle.dumps({"x": 1}, protocol=0)),
        ("visual.npy", "a pickle where arrays are expected"),
    ),
    Case("an array of objects", features(np.array([{}, {}, {}])), ("visual.npy", "Python objects")),
    Case("no array at all", raw_features(b"hello"), ("visual.npy", "not a .npy file")),
    Case("a mask of numbers", with_mask(np.ones(3)), ("visual.present.npy", "bool (3,)", "float64")),
    Case("a mask that is too short", with_mask(np.ones(2, dtype=bool)), ("visual.present.npy", "bool (3,)", "(2,)")),
    Case(
        "no parquet",
        text(("interactions.parquet", "hello")),
        ("interactions.parquet", "not a readable parquet"),
        "parquet",
    ),
    Case("a truncated parquet", cut_short_parquet, ("interactions.parquet", "not a readable parquet"), "parquet"),
    Case(
        "a null id in parquet",
        parquet(pl.DataFrame({"user_id": [1, None], "item_id": [1, 2]})),
        ("interactions.parquet, row 2", "user_id", "nothing"),
        "parquet",
    ),
    Case(
        "an id that is a fraction",
        parquet(pl.DataFrame({"user_id": [1.0, 1.5], "item_id": [1, 2]})),
        ("interactions.parquet, row 2", "whole number", "1.5"),
        "parquet",
    ),
    Case(
        "an id that is a list",
        parquet(pl.DataFrame({"user_id": [[1]], "item_id": [1]})),
        ("interactions.parquet", "one id per row", "List"),
        "parquet",
    ),
    Case(
        "lists of two lengths",
        parquet(pl.DataFrame({"item_id": [0, 1], "v": [[1.0, 2.0], [3.0]]}), "mood.parquet"),
        ("mood.parquet, row 2", "2 numbers", "got 1"),
    ),
    Case(
        "NaN in parquet",
        parquet(pl.DataFrame({"item_id": [0, 1], "v": [1.0, None]}), "mood.parquet"),
        ("mood.parquet, row 2", "finite number", "nan"),
    ),
    Case(
        "text in parquet features",
        parquet(pl.DataFrame({"item_id": [0], "v": ["x"]}), "mood.parquet"),
        ("mood.parquet", "numeric columns", "'v' (String)"),
    ),
    Case(
        "an item twice in features",
        parquet(pl.DataFrame({"item_id": [0, 0], "v": [1.0, 2.0]}), "mood.parquet"),
        ("mood.parquet, row 2", "distinct", "'0'"),
    ),
    Case(
        "a type that RecBole has not",
        text(("a.inter", "user_id:token\titem_id:int\n1\t2\n")),
        ("a.inter, row 1", "token_seq", "'item_id:int'"),
        "recbole",
    ),
    Case(
        "a header without types",
        text(("a.inter", "user_id\titem_id\n1\t2\n")),
        ("a.inter, row 1", "name:type", "'user_id'"),
        "recbole",
    ),
    Case("two logs", text(("a.inter", INTER), ("b.inter", INTER)), ("one .inter file", "a.inter, b.inter"), "recbole"),
    Case(
        "a float that is not a number",
        text(("a.inter", INTER + "1\t2\t4\n1\t3\tx\n")),
        ("a.inter, row 3", "rating", "'x'"),
        "recbole",
    ),
    Case(
        "a sequence with a word",
        text(("a.inter", INTER + "1\t2\t4\n"), ("a.item", ITEM + "2\t1 b\n")),
        ("a.item, row 2", "mood", "numbers", "'1 b'"),
        "recbole",
    ),
    Case(
        "NaN in a sequence",
        text(("a.inter", INTER + "1\t2\t4\n"), ("a.item", ITEM + "1\t0\n2\tnan\n")),
        ("a.item, row 3", "mood", "finite", "'nan'"),
        "recbole",
    ),
    Case(
        "an item that RecBole's table lacks",
        text(("a.inter", INTER + "1\t2\t4\n"), ("a.item", ITEM + "1\t1\n")),
        ("a.inter, row 2", "a.item", "'2'"),
        "recbole",
    ),
    Case(
        "a label that MMRec has not",
        text(("a.inter", MMREC + "0\t0\t0\n0\t1\t3\n")),
        ("a.inter, row 3", "x_label", "0 or 1 or 2", "'3'"),
        "mmrec",
    ),
    Case(
        "a word in a list",
        text(("train.txt", "0 1 2\n1 x 3\n"), ("test.txt", "0 5\n")),
        ("train.txt, row 2", "whole numbers", "'1 x 3'"),
        "lists",
    ),
    Case("no test list", text(("train.txt", "0 1 2\n")), ("test.txt", "no test list"), "lists"),
    Case("an empty list", text(("train.txt", "0 1 2\n"), ("test.txt", "")), ("test.txt", "empty"), "lists"),
    Case("an item outside in a list", listed, ("test.txt, row 3", "unknown item", "the rows of v.npy", "'7'"), "lists"),
    Case(
        "columns of a list",
        text(("train.txt", "0 1\n"), ("test.txt", "0 2\n")),
        ("no columns", "user_column"),
        "lists",
        {"user_column": "x"},
    ),
    Case(
        "pickled matrices",
        text(("train_mat", pickle.dumps({}))),
        ("train_mat", "a pickle where arrays are expected", "train.json"),
        "mmssl",
    ),
    Case(
        "broken JSON",
        text(("train.json", '{"0": [1'), ("test.json", "{}")),
        ("train.json", "not valid JSON"),
        "mmssl",
    ),
    Case(
        "JSON of text",
        text(("train.json", '{"0": [1], "5": [2, "x"]}'), ("test.json", "{}")),
        ("train.json, row 2", "'5'", "whole numbers", "'x'"),
        "mmssl",
    ),
    Case("JSON of nobody", text(("train.json", "{}"), ("test.json", "{}")), ("train.json", "no user"), "mmssl"),
    Case("an unknown format", log(LOG), ("format", "csv or parquet", "'xml'"), "xml"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_gets_one_clear_error_and_leaves_nothing_behind(case: Case, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    case.build(source)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        import_dataset(case.format, source, tmp_path / "out", **case.options)
    has_in_order(str(caught.value), case.message)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_source_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: the source does not exist"):
        import_dataset("csv", tmp_path / "nowhere", tmp_path / "out")


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    text(("interactions.csv", LOG), ("visual.npy", pickle.dumps(Bomb())))(tmp_path)
    with pytest.raises(InputError, match="a pickle"):
        import_dataset("csv", tmp_path, tmp_path / "out" / "x")
    assert not (tmp_path / "exploded").exists()
