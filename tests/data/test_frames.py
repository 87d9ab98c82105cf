"""Tables and arrays in memory become the data set that an import of the same files makes."""

import datetime
import decimal
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.errors import InputError

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

USERS, ITEMS = ["ann", "bob", "ann", "eve", "bob", "ann"], [10, 9, 9, 10, 7, 7]
TIMES = [5, 4, 3, 2, 1, 6]
LOG = {"user_id": USERS, "item_id": ITEMS, "timestamp": TIMES}
MOMENTS = [datetime.datetime(2024, 1, 1, hour, tzinfo=datetime.UTC) for hour in TIMES]
SECONDS = [int(moment.timestamp()) for moment in MOMENTS]
TOKYO = datetime.timezone(datetime.timedelta(hours=9))


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("frames")
    pl.DataFrame(LOG).write_csv(folder / "log.csv")
    return import_dataset("csv", folder / "log.csv", folder / "out", split="time-user", seed=3)


def arrow_dictionaries():
    return pa.table({name: pa.array(values).dictionary_encode() for name, values in LOG.items()})


FORMS = {
    "polars": lambda: pl.DataFrame(LOG),
    "polars categories": lambda: pl.DataFrame(LOG).with_columns(pl.col("user_id").cast(pl.Categorical)),
    "polars objects": lambda: pl.DataFrame([pl.Series(name, v, dtype=pl.Object) for name, v in LOG.items()]),
    "pandas": lambda: pd.DataFrame(LOG),
    "pandas with an index": lambda: pd.DataFrame(LOG, index=[0, 0, 1, 1, 2, 2]),
    "pandas categories": lambda: pd.DataFrame(LOG).astype("category"),
    "pandas objects": lambda: pd.DataFrame(LOG).astype(object),
    "pandas nullable": lambda: pd.DataFrame(LOG).convert_dtypes(),
    "pandas on arrow": lambda: pd.DataFrame(LOG).convert_dtypes(dtype_backend="pyarrow"),
    "pandas floats": lambda: pd.DataFrame(LOG).astype({"item_id": float, "timestamp": float}),
    "pyarrow": lambda: pa.table(LOG),
    "pyarrow dictionaries": arrow_dictionaries,
    "lists": lambda: LOG,
    "arrays": lambda: {name: np.array(values) for name, values in LOG.items()},
    "big-endian": lambda: LOG | {"item_id": np.array(ITEMS, dtype=">i4"), "timestamp": np.array(TIMES, dtype=">f8")},
    "half precision": lambda: LOG | {"item_id": np.array(ITEMS, dtype=np.float16)},
    "series": lambda: {"user_id": pd.Series(USERS), "item_id": pl.Series(ITEMS), "timestamp": pa.array(TIMES)},
    "tensors": lambda: LOG | {"item_id": torch.tensor(ITEMS)},
    "decimals": lambda: LOG | {"item_id": [decimal.Decimal(item) for item in ITEMS]},
    "mixed": lambda: LOG | {"item_id": [10, "9", 9.0, "10", 7, np.int64(7)]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_table_gives_the_data_of_the_import(imported, form):
    frame = FORMS[form]()
    data = Dataset.from_frames(frame, split="time-user", seed=3)
    assert data.manifest.content_hash == imported.manifest.content_hash
    assert data.manifest.provenance["options"] == imported.manifest.provenance["options"]
    assert data.manifest.provenance["format"] == "frames"


@pytest.mark.parametrize(
    "times",
    [
        pd.Series(MOMENTS).dt.tz_convert("Asia/Tokyo"),
        pd.Series(MOMENTS).dt.tz_localize(None).dt.as_unit("s"),
        pd.Series([moment.astimezone(TOKYO) for moment in MOMENTS], dtype=object),
        pl.Series(MOMENTS).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns"),
        pa.array(MOMENTS, pa.timestamp("ms", "Asia/Tokyo")),
        np.array([moment.replace(tzinfo=None) for moment in MOMENTS], dtype="datetime64[ns]"),
        [moment.isoformat() for moment in MOMENTS],
    ],
    ids=["pandas", "pandas naive", "objects", "polars", "pyarrow", "numpy", "text"],
)
def test_times_of_any_zone_become_seconds_since_1970(times):
    log = Dataset.from_frames({"user_id": range(6), "item_id": ITEMS, "timestamp": times}).log
    assert log["timestamp"].to_list() == SECONDS


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, pd.NA])
def test_missing_times_and_ratings_are_null(missing):
    moments = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [pd.Timestamp(0), pd.NaT]})
    assert Dataset.from_frames(moments).log["timestamp"].to_list() == [0, None]
    ratings = {"user_id": [1, 2], "item_id": [1, 2], "rating": [4.5, missing]}
    for frame in (ratings, pd.DataFrame(ratings), pd.DataFrame(ratings).convert_dtypes()):
        assert Dataset.from_frames(frame).log["rating"].to_list() == [4.5, None]


def test_an_array_of_pairs_holds_ids():
    numbers = Dataset.from_frames(np.array([[5, 10], [7, 9]]))
    assert (numbers.users.raw.to_list(), numbers.items.raw.to_list()) == (["5", "7"], ["9", "10"])
    assert Dataset.from_frames([("ann", 1), ("bob", 2)]).users.raw.to_list() == ["ann", "bob"]
    assert Dataset.from_frames(np.array([["a", "x"], ["b", "y"]])).items.raw.to_list() == ["x", "y"]


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_array, sp.coo_array])
def test_a_matrix_holds_numbers_ratings_and_no_explicit_zeros(form):
    matrix = form(np.array([[3.0, 0, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]))
    matrix.data[list(matrix.data).index(2)] = 0
    before = matrix.toarray()
    data = Dataset.from_frames(matrix)
    assert (len(data.users), len(data.items)) == (3, 4)
    assert data.log.select("user", "item", "rating").rows() == [(0, 0, 3.0), (0, 2, 1.0)]
    assert np.array_equal(matrix.toarray(), before) and matrix.nnz == 3
    ones = Dataset.from_frames(form(before > 0), features={"visual": np.eye(4)})
    assert ones.log.columns == ["user", "item", "split"]
    with pytest.raises(InputError, match=r"features\['visual'\]: rows of features: expected 4 .one per item"):
        Dataset.from_frames(matrix, features={"visual": np.eye(3)})


def test_splits_are_kept_and_may_be_of_different_kinds():
    parts = {
        "test": pa.table({"user": ["b"], "item": [2]}),
        "train": pd.DataFrame(LOG),
        "valid": np.array([["b", "1"]]),
    }
    data = Dataset.from_frames(parts)
    assert data.manifest.num_interactions == {"train": 6, "valid": 1, "test": 1}
    train, test = sp.csr_array([[1, 0, 1], [0, 2, 0]]), sp.csr_array([[0, 1, 0], [0, 0, 1]])
    data = Dataset.from_frames({"train": train, "test": test}, ratios=(1, 0, 1))
    assert data.test.csr().toarray().tolist() == test.toarray().tolist()
    assert data.log["rating"].to_list() == [1, 1, 1, 2, 1]  # the 1 of test is a rating where train has ratings
    with pytest.raises(InputError, match=r"expected train, test and optionally valid, got valid, train"):
        Dataset.from_frames({"valid": train, "train": test})
    with pytest.raises(InputError, match=r"matrices of different shapes: got \(2, 2\), \(2, 3\)"):
        Dataset.from_frames({"train": train, "test": test[:, :2]})


def test_tables_of_users_and_items_bring_metadata_and_the_order_of_features():
    items = pd.DataFrame(
        {
            "item_id": [9, 10, 7, 8],
            "film_title": ["Nine", None, "Seven", "Eight"],
            "genre": pd.Categorical(["a", "b", "a", None]),
            "tags": [["x"], [], None, ["y", "z"]],
            "from": pd.to_datetime(["2020-01-01", None, "2021-01-01", "2022-01-01"]),
        }
    )
    users = pa.table({"user_id": pa.array(["eve", "bob", "ann", "zoe"]).dictionary_encode(), "age": [1, 2, None, 4]})
    data = Dataset.from_frames(LOG, items=items, users=users, features={"visual": np.array([[9], [10], [7], [8]])})
    assert data.items.raw.to_list() == ["7", "8", "9", "10"]
    assert data.features["visual"].values.ravel().tolist() == [7, 8, 9, 10]
    assert [data.title(row) for row in range(4)] == ["Seven", "Eight", "Nine", None]
    assert data.item_table["genre"].to_list() == ["a", None, "a", "b"]
    assert data.item_table["tags"].to_list() == [None, '["y", "z"]', '["x"]', "[]"]
    assert data.item_table["from"].to_list()[0] == "2021-01-01 00:00:00.000000"
    assert pl.read_parquet(data.folder / "users.parquet")["age"].to_list() == [None, 2, 1, 4]


def test_features_come_as_arrays_masks_or_tables():
    frames = {
        "array": np.array([[7, 7], [9, 9], [10, 10]], dtype=np.float16),
        "mask": (np.array([[7, 7], [np.nan, 0], [10, 10]]), np.array([True, False, True])),
        "tensor": torch.tensor([[7, 7], [9, 9], [10, 10]]),
        "columns": pd.DataFrame({"item_id": [10, 9, 7], "a": [10, 9, 7], "b": [10.0, 9.0, 7.0]}),
        "lists": pd.DataFrame({"item_id": [10, 7], "v": [[10, 10], np.array([7.0, 7.0])]}),
        "polars": pl.DataFrame(
            {"item": [10, 7], "v": [[10, 10], [7, 7]]}, schema_overrides={"v": pl.Array(pl.Int32, 2)}
        ),
        "mapping": {"item_id": [9], "v": [9.0], "w": [9.0]},
    }
    data = Dataset.from_frames(LOG, items={"item_id": [7, 9, 10]}, features=frames)
    for name, features in data.features.items():
        expected = np.array([[7, 7], [9, 9], [10, 10]]) * features.present[:, None]
        assert np.array_equal(features.values, expected), name
        assert features.values.dtype == (np.float16 if name == "array" else np.float32)
    present = {name: features.present.tolist() for name, features in data.features.items()}
    assert present["mask"] == present["lists"] == present["polars"] == [True, False, True]
    assert present["mapping"] == [False, True, False]


def test_options_are_those_of_the_import():
    log = pd.DataFrame({"who": USERS, "what": ITEMS, "stars": [5, 4, 1, 1, 5, 5]})
    names = {"user_column": "who", "item_column": "what", "rating_column": "stars"}
    data = Dataset.from_frames(log, name="shop", rating_threshold=4, kcore=1, **names)
    assert (data.manifest.name, len(data.users), len(data.items)) == ("shop", 2, 3)
    assert data.manifest.oddities["below_rating_threshold"] == 2


def test_columns_that_are_not_needed_are_not_read():
    Dataset.from_frames(pd.DataFrame(LOG | {"blob": [object()] * 6}))


BAD = {
    "text": ("x", "interactions: expected a pandas or polars data frame"),
    "nothing": (None, "got NoneType"),
    "a lazy frame": (pl.LazyFrame(LOG), r"got LazyFrame. Remedy: call collect\(\)"),
    "an empty frame": (pd.DataFrame({"user_id": [], "item_id": []}), "interactions: the table is empty"),
    "no users": (pd.DataFrame({"item_id": [1]}), "no user column: .* got columns 'item_id'. Remedy: .*user_column=..."),
    "columns twice": (pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "item_id"]), "'item_id' 2 times"),
    "numbered columns": (pd.DataFrame([[1, 2]]), "names of text: got 0, 1"),
    "columns of two lengths": ({"user_id": [1, 2], "item_id": [1]}, "'user_id' 2, 'item_id' 1"),
    "three columns": (np.ones((4, 3)), r"expected shape \(n, 2\): user id, item id, got shape \(4, 3\)"),
    "a table as column": ({"user_id": np.ones((2, 2)), "item_id": [1, 2]}, "'user_id': expected one value per row"),
    "no id": (pd.DataFrame({"user_id": pd.array([1, None], "Int64"), "item_id": [1, 2]}), "row 2: user_id: .* nothing"),
    "no id in pandas": (pd.DataFrame({"user_id": ["a", None], "item_id": [1, 2]}), "row 2: user_id: .* got nothing"),
    "no flag": (pd.DataFrame({"user_id": pd.array([True, None], "boolean"), "item_id": [1, 2]}), "row 2: .* nothing"),
    "NaN as id": (np.array([[1, 2], [np.nan, 4]]), "interactions, row 2: user_id: expected an id, got nothing"),
    "NaN in polars": (pl.DataFrame({"user_id": [1.0, float("nan")], "item_id": [1, 2]}), "row 2: .* got nan"),
    "infinity": (np.array([[1, 2], [np.inf, 4]]), "row 2: user_id: expected text or a whole number, got inf"),
    "a huge float": (np.array([[1, 2], [1e300, 4]]), r"row 2: user_id: .* got 1e\+300"),
    "a fraction": (pa.table({"user_id": [decimal.Decimal("1.5")], "item_id": [1]}), "row 1: user_id: .* got '1.50?'"),
    "bytes": ({"user_id": [b"x"], "item_id": [1]}, r"row 1: column 'user_id': .* got b'x' \(bytes\)"),
    "binary": (pa.table({"user_id": [b"x"], "item_id": [1]}), "user_id: expected one id per row, got Binary"),
    "a struct": (pl.DataFrame({"user_id": [{"a": 1}], "item_id": [1]}), "expected one id per row, got Struct"),
    "dicts": (
        pd.DataFrame({"user_id": ["a", {}], "item_id": [1, 2]}),
        r"row 2: column 'user_id': .* got \{\} \(dict\)",
    ),
    "text and times": ({"user_id": ["a", datetime.date(2024, 1, 1)], "item_id": [1, 2]}, "row 2: column 'user_id'"),
    "a duration": (
        pl.DataFrame(LOG | {"timestamp": pl.Series(TIMES).cast(pl.Duration)}),
        "timestamp: expected numbers",
    ),
    "periods": (pd.DataFrame(LOG | {"timestamp": pd.period_range("2024", periods=6)}), "row 1: column 'timestamp'"),
    "a word as rating": (pd.DataFrame(LOG | {"rating": pd.Categorical(["1"] * 5 + ["x"])}), "row 6: rating: .* 'x'"),
    "a list as rating": (pl.DataFrame(LOG | {"rating": [[1]] * 6}), "rating: expected numbers, got List"),
    "a complex matrix": (sp.csr_array([[1j]]), "real numbers, got .* complex128"),
    "NaN in a matrix": (sp.csr_array([[np.nan]]), "expected finite numbers, got NaN"),
    "a wrong split": ({"user_id": [1], "item_id": [1], "split": ["dev"]}, "row 1: split: .* got 'dev'"),
    "a union": (
        {
            "user_id": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])]),
            "item_id": [1],
        },
        "column 'user_id'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_interactions_get_one_clear_error(case, tmp_path):
    data, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        Dataset.from_frames(data, out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kcor": 3}, "unknown option 'kcor' of Dataset.from_frames. Remedy: did you mean kcore"),
        ({"kcore": -1}, "option 'kcore' of Dataset.from_frames: expected 0 or more, got -1"),
        ({"split": "dev"}, "split: expected random or .* got 'dev'"),
        ({"features": [1]}, "features: expected names with arrays or frames, got list"),
        ({"features": {"items": np.ones((3, 1))}}, "name of a modality: .* got 'items'"),
        (
            {"features": {"visual": np.ones((3, 1))}},
            r"row 1: unknown item: .* the rows of features\['visual'\], got '10'",
        ),
        ({"items": {"item_id": [7, 9]}}, "interactions, row 1: unknown item: expected an item of items, got '10'"),
        ({"users": {"user_id": ["ann"]}}, "interactions, row 2: unknown user: expected a user of users, got 'bob'"),
        ({"items": {"item_id": [7, 7]}}, "items, row 2: item_id: expected distinct ids, got '7'"),
        ({"items": 3}, "items: expected a pandas or polars data frame"),
        ({"items": pd.DataFrame({"item_id": [7], "x": [object()]})}, "items, row 1: column 'x'"),
        ({"features": {"v": pd.DataFrame({"item_id": [7], "v": [["a"]]})}}, r"features\['v'\], row 1: .* got nan"),
        (
            {"features": {"v": pl.DataFrame({"item_id": [7], "v": [[{"a": 1}]]})}},
            "expected lists of numbers, got 'v'",
        ),
        ({"features": {"v": pd.DataFrame({"item_id": [7, 7], "v": [1, 2]})}}, r"features\['v'\], row 2: .*distinct"),
        ({"features": {"v": (np.ones((3, 1)), [1, 1, 1])}}, r"features\['v'\]: presence mask: expected bool"),
        ({"features": {"v": object()}}, r"features\['v'\]: features: expected shape"),
    ],
)
def test_bad_tables_features_and_options_get_one_clear_error(options, message):
    with pytest.raises(InputError, match=message):
        Dataset.from_frames(LOG, **options)


def test_a_folder_is_kept_and_replaced_only_on_demand(tmp_path):
    assert Dataset.from_frames(LOG, out=tmp_path / "out").folder == tmp_path / "out"
    with pytest.raises(InputError, match=r"exists already.*overwrite=True"):
        Dataset.from_frames({}, out=tmp_path / "out")
    data = Dataset.from_frames(np.array([[1, 2]]), out=tmp_path / "out", overwrite=True)
    assert len(Dataset(tmp_path / "out", verify=True).log) == len(data.log) == 1


def test_a_temporary_folder_lives_as_long_as_a_dataset_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = Dataset.from_frames(LOG)
    more = data.with_modality("visual", np.ones((3, 2)))
    del data
    gc.collect()
    assert more.features["visual"].present.all() and len(more.log) == 6
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            del more
            gc.collect()
            os._exit(0)
        os.waitpid(child, 0)
    assert Dataset(more.folder, verify=True)
    del more
    gc.collect()
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError):
        Dataset.from_frames("x")
    gc.collect()
    assert not list(tmp_path.iterdir())


def printed_by(code: str) -> str:
    """Runs Python code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_neither_pandas_nor_pyarrow_is_imported():
    code = (
        "import sys; sys.modules['pyarrow'] = None; sys.modules['pandas'] = None;"
        "import numpy as np; from medley.data.dataset import Dataset;"
        "print(Dataset.from_frames(np.array([[1, 2]]), items={'item_id': [2]}))"
    )
    assert "Dataset(frames" in printed_by(code)


def test_pandas_needs_no_pyarrow():
    code = (
        "import sys; sys.modules['pyarrow'] = None; import pandas as pd; from medley.data.dataset import Dataset;"
        "frame = pd.DataFrame({'user_id': ['a', 'b'], 'item_id': pd.array([1, 2], 'Int64'),"
        " 'timestamp': pd.to_datetime(['2024-01-01', None])});"
        "print(Dataset.from_frames(frame))"
    )
    assert "Dataset(frames" in printed_by(code)


def test_the_source_of_an_error_is_a_path_only_where_there_is_a_file():
    with pytest.raises(InputError) as caught:
        Dataset.from_frames({"user_id": [""], "item_id": [1]})
    assert str(caught.value).startswith("interactions, row 1: user_id") and str(Path.cwd()) not in str(caught.value)
