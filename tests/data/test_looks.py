"""`import auto` says what a source is, and its command imports it."""

import bz2
import gzip
import io
import lzma
import shlex
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley.cli.options import import_command
from medley.data.importing import import_dataset
from medley.data.looks import look
from medley.errors import InputError

RATINGS = "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,3,2.0,964981247\n2,3,5.0,964982224\n"
SOURCES = {  # name -> files, format, part of the command, what is seen
    "MovieLens": (
        {"ratings.csv": RATINGS, "movies.csv": "movieId,title\n1,A\n3,B\n"},
        "csv",
        "--item-column movieId",
        {"items": "movies.csv", "timestamp column": "timestamp: seconds since 1970"},
    ),
    "MovieLens 1M": (
        {"ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978301968\n"},
        "csv",
        "--separator :: --header user_id,item_id,rating,timestamp",
        {"separator": "'::'"},
    ),
    "MovieLens 100K": (
        {"u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n"},
        "csv",
        "--separator tab --header user_id,item_id,rating,timestamp",
        {"header": "none; the columns seem to be user_id, item_id, rating, timestamp"},
    ),
    "Book-Crossing": (
        {"BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\n"1";"03X";"0"\n"2";"caf\xe9";"7"\n'.encode("latin-1")},
        "csv",
        "--separator ';' --encoding latin-1 --user-column User-ID --item-column ISBN --rating-column Book-Rating",
        {"encoding": "latin-1"},
    ),
    "FilmTrust": ({"ratings.txt": "1 1 2\n1 12 3.5\n2 1 4\n3 5 1\n"}, "csv", "--separator ' '", {"separator": "blank"}),
    "Amazon": (
        {"a.jsonl": '{"reviewerID":"A1","asin":"B1","overall":5}\n{"reviewerID":"A2","asin":"B1","overall":1}\n'},
        "json",
        "--user-column reviewerID --item-column asin --rating-column overall",
        {"rating column": "overall: 1 to 5"},
    ),
    "Steam": (
        {"steam.csv": "user,Game Name,event\n1,Skyrim,purchase\n1,Skyrim,play\n2,Fallout 4,play\n"},
        "csv",
        "--item-column 'Game Name' --event-column event",
        {"event column": "event: purchase, play; all are kept unless positive=... says which count"},
    ),
    "LightGCN": ({"train.txt": "0 1 2 3\n1 2\n", "test.txt": "0 4\n1 3\n"}, "lists", "import lists", {}),
    "SASRec": ({"Video.txt": "1 1\n1 2\n2 2\n"}, "pairs", "import pairs", {"lines": "user item"}),
    "MicroLens": ({"a_pairs.tsv": "1\t4 5 6\n2\t5 4\n"}, "sequences", "import sequences", {}),
    "MMSSL": ({"train.json": '{"0": [1]}', "test.json": '{"0": [2]}'}, "mmssl", "import mmssl", {}),
    "MMRec": (
        {"a.inter": "userID\titemID\tx_label\n0\t0\t0\n0\t1\t2\n"},
        "mmrec",
        "import mmrec",
        {"split": "given: x_label"},
    ),
    "RecBole": ({"a.inter": "user_id:token\titem_id:token\n0\t0\n"}, "recbole", "import recbole", {}),
    "REARM": (
        {"train.npy": np.array([[0, 1, 1], [1, 2, 0]]), "test.npy": np.array([[0, 1, 1], [2, 3, 4]])},
        "pairs",
        "import pairs",
        {},
    ),
    "milliseconds": (
        {"interactions.csv": "user_id,item_id,time\na,x,1400000000000\nb,y,1500000000000\n"},
        "csv",
        "import csv",
        {"timestamp column": "time: milliseconds since 1970"},
    ),
    "parquet": (
        {"x.parquet": pl.DataFrame({"customer_id": ["a"], "sku": [7]})},
        "parquet",
        "--user-column customer_id --item-column sku",
        {},
    ),
    "a given split": (
        {"train.csv": "user_id,item_id\na,x\n", "test.csv": "user_id,item_id\na,y\n"},
        "csv",
        "import csv",
        {"split": "given: test.csv, train.csv; validation will be drawn from train"},
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_look_says_what_a_source_is_and_the_import_follows_it(name, tmp_path: Path):
    files, format, part, seen = SOURCES[name]
    folder = tmp_path / "source"
    folder.mkdir()
    for file, content in files.items():
        if isinstance(content, np.ndarray):
            np.save(folder / file, content)
        elif isinstance(content, pl.DataFrame):
            content.write_parquet(folder / file)
        else:
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = look(folder)
    command = import_command(found.format, folder, found.options, tmp_path / "out")
    assert found.format == format and part in command, command
    assert seen.items() <= found.seen.items(), found.seen
    assert shlex.split(command)[:4] == ["medley", "import", format, str(folder)]
    assert len(import_dataset("auto", folder, tmp_path / "out", ratios=(1, 0, 0) if "split" not in seen else None).log)


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", content)
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    """One frame of one block that is stored as it is."""
    size = len(content)
    return b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + (1 | size << 3).to_bytes(3, "little") + content


PACKED = {
    "ratings.csv.gz": gzip.compress,
    "ratings.csv.bz2": bz2.compress,
    "ratings.csv.xz": lzma.compress,
    "ratings.csv.zip": zipped,
    "ratings.csv.zst": zstd,
    "ratings.csv": lambda content: gzip.compress(bz2.compress(content)),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_look_reads_packed_files_as_the_import_does_and_names_the_damaged_ones(name, tmp_path: Path):
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / name
    whole = PACKED[name](RATINGS.encode() * 100)
    path.write_bytes(whole)
    assert "header" in look(path).seen
    assert len(import_dataset("auto", path, tmp_path / "out", ratios=(1, 0, 0), on_error="skip").log) == 3
    for damaged in (whole[: len(whole) // 2], whole[:10] + bytes(40) + whole[50:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be unpacked"):
            look(path)


def test_an_archive_of_arrays_is_not_taken_for_a_packed_table(tmp_path: Path):
    np.savez(tmp_path / "interactions.npz", user=np.array([0]), item=np.array([1]))
    assert look(tmp_path / "interactions.npz").format == "pairs"


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "an empty folder"), ({"readme.md": "hi"}, "readme.md"), ({"a.csv": "", "b.csv": "x"}, "a.csv")],
)
def test_a_source_without_interactions_is_refused(files, said, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        look(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        look(tmp_path / "nothing")
