"""Logs as people have them: files, options, and what the import says. One table of cases, by kind.

A case that is imported says `said` among its oddities; another one ends in one InputError that says it, in this order.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.inspect import inspect_dataset
from medley.errors import InputError


class Case(NamedTuple):
    name: str
    format: str
    files: Mapping[str, Any]  # name -> text, bytes, array, frame, sparse matrix
    said: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    ok: bool = True
    source: str = ""  # the file that is given; "" is the folder
    counts: tuple[int, int, int] | None = None  # of train, valid, test
    modalities: Mapping[str, int] | None = None  # name -> dimensions
    pairs: int | None = None  # of all splits
    titles: tuple[str, ...] | None = None


def wrong(name: str, format: str, files: Mapping[str, Any], *said: str, source: str = "", **options: Any) -> Case:
    return Case(name, format, files, said, options, ok=False, source=source)


LOG = "user_id,item_id\n" + "".join(f"u{u},{i}\n" for u in range(4) for i in range(u, u + 5))  # 20 pairs, items 0 to 7
ITEMS = "item_id,title\n" + "".join(f"{i},Film {i}\n" for i in range(8))
TRAIN, VALID, TEST = "user_id,item_id\na,0\na,1\nb,1\n", "user_id,item_id\na,2\n", "user_id,item_id\nb,2\n"
RATED = "user_id,item_id,rating\na,0,5\na,1,1\nb,0,2\nb,1,4\nc,1,3\n"
EVENTS = "user_id,item_id,event\na,0,view\na,0,buy\na,1,view\nb,1,buy\nb,0,dislike\n"
MMREC = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t0\n1\t2\t1\n1\t0\t2\n"  # 2 users, 3 items
ATOMIC = "user_id:token\titem_id:token\n"
TRIPLES = "1 4 5\n1 7 3\n2 4 5\n2 9 1\n3 7 2\n"
A8, A3 = np.arange(16, dtype=np.float32).reshape(8, 2), np.ones((3, 2), dtype=np.float32)
NUMBERED = "item_id,f0,f1\n" + "".join(f"{i},{i}.5,1\n" for i in range(8))
PAIRS = np.array([[0, 0, 1, 1, 2], [0, 1, 1, 2, 0]])
MATRIX = sp.coo_array((np.array([5.0, 1.0, 3.0]), (np.array([0, 0, 1]), np.array([0, 2, 1]))), shape=(2, 4))
SEQUENCES = "u1\tx y z\nu2\ty x\nu3\tz\n"

READ = [  # what belongs to a log is read, or named
    Case("arrays that fit", "mmrec", {"a.inter": MMREC, "MiniLM-L6.npy": A3, "vgg.npy": A3}, (), {}, counts=(2, 1, 1)),
    Case("their names", "mmrec", {"a.inter": MMREC, "MiniLM-L6.npy": A3}, modalities={"MiniLM-L6": 2}),
    Case(
        "named arrays",
        "mmrec",
        {"a.inter": MMREC, "x.npy": A3, "y.npy": A3, "z.npy": A3},
        ("files not read: z.npy",),
        {"features": {"textual": "x.npy", "acoustic": "y.npy"}},
        modalities={"textual": 2, "acoustic": 2},
    ),
    Case(
        "arrays beside _feat",
        "mmrec",
        {"a.inter": MMREC, "image_feat.npy": A3, "w.npy": A3},
        modalities={"visual": 2, "w": 2},
    ),
    Case("too few rows", "mmrec", {"a.inter": MMREC, "x.npy": A3[:2]}, ("x.npy: 2 rows for 3 items",), modalities={}),
    Case("one dimension", "mmrec", {"a.inter": MMREC, "x.npy": A3[:, 0]}, ("x.npy: shape (3,)",), modalities={}),
    Case("a graph as pickle", "mmrec", {"a.inter": MMREC, "g.npy": b"\x80\x04."}, ("g.npy: a pickle",), modalities={}),
    Case(
        "as many users as items",
        "mmrec",
        {"a.inter": MMREC + "2\t1\t0\n", "x.npy": A3},
        ("x.npy: 3 rows, as many as users and items", "features={'NAME': 'x.npy'}"),
        modalities={},
    ),
    Case("a name that is reserved", "mmrec", {"a.inter": MMREC, "id.npy": A3}, ("id.npy: no name",), modalities={}),
    Case("the name of a prior", "mmrec", {"a.inter": MMREC, "cold.npy": A3}, ("cold.npy: no name",), modalities={}),
    Case(
        "an item table of MMRec",
        "mmrec",
        {"a.inter": MMREC, "a.items.tsv": "itemID\ttitle\n2\tC\n0\tA\n1\tB\n"},
        titles=("A", "B", "C"),
    ),
    Case("arrays of RecBole", "recbole", {"a.inter": ATOMIC + "a\t0\na\t1\nb\t2\n", "v.npy": A3}, modalities={"v": 2}),
    Case(
        "arrays of RecBole's items",
        "recbole",
        {"a.inter": ATOMIC + "a\tx\nb\tz\n", "a.item": "item_id:token\tt:token\nx\t1\ny\t2\nz\t3\n", "v.npy": A3},
        modalities={"v": 2},
    ),
    Case(
        "rows that have two meanings",
        "recbole",
        {"a.inter": ATOMIC + "a\t0\nb\t1\n", "a.item": "item_id:token\tt:token\n2\t1\n0\t2\n1\t3\n", "v.npy": A3},
        ("v.npy: are its rows items 0, 1, ..., or the order of the item table?",),
        modalities={},
    ),
    Case("an untyped header with x_label", "recbole", {"a.inter": MMREC}, counts=(2, 1, 1)),
    Case(
        "files that RecBole has besides",
        "recbole",
        {"a.inter": ATOMIC + "a\tx\n", "a.kg": "h", "a.link": "l"},
        ("files not read: a.kg, a.link",),
    ),
    Case(
        "the neighbours of a file",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS, "visual.npy": A8},
        source="interactions.csv",
        modalities={"visual": 2},
        titles=tuple(f"Film {i}" for i in range(8)),
    ),
    Case(
        "of a file with another name",
        "csv",
        {"my.csv": LOG, "items.csv": ITEMS, "v.npy": A8},
        source="my.csv",
        modalities={"v": 2},
    ),
    Case(
        "an array of something else beside it",
        "csv",
        {"my.csv": LOG, "v.npy": A8[:5]},
        ("v.npy: 5 rows for 8 items",),
        source="my.csv",
        modalities={},
    ),
    Case("validation.csv", "csv", {"train.csv": TRAIN, "validation.csv": VALID, "test.csv": TEST}, counts=(3, 1, 1)),
    Case("dev.csv", "csv", {"train.csv": TRAIN, "dev.csv": VALID, "test.csv": TEST}, counts=(3, 1, 1)),
    Case(
        "Val.TSV", "csv", {"train.csv": TRAIN, "Val.TSV": VALID.replace(",", "\t"), "TEST.CSV": TEST}, counts=(3, 1, 1)
    ),
    Case(
        "valid.json",
        "mmssl",
        {f"{split}.json": f'{{"0": [{n}]}}' for n, split in enumerate(("train", "valid", "test"))},
        counts=(1, 1, 1),
    ),
    Case(
        "dev.json",
        "mmssl",
        {f"{split}.json": f'{{"0": [{n}]}}' for n, split in enumerate(("train", "dev", "test"))},
        counts=(1, 1, 1),
    ),
    Case("val.txt", "lists", {"train.txt": "0 1 2\n", "val.txt": "0 3\n", "test.txt": "0 4\n"}, counts=(2, 1, 1)),
    wrong(
        "test2.csv",
        "csv",
        {"train.csv": TRAIN, "test.csv": TEST, "test2.csv": VALID},
        "test2.csv",
        "a split that is not known",
        "rename",
    ),
    wrong(
        "holdout.csv",
        "csv",
        {"train.csv": TRAIN, "test.csv": TEST, "holdout.csv": VALID},
        "holdout.csv",
        "a split that is not known",
    ),
    wrong(
        "train_neg.txt",
        "lists",
        {"train.txt": "0 1\n", "test.txt": "0 2\n", "train_neg.txt": "0 3\n"},
        "train_neg.txt",
        "not known",
    ),
    wrong(
        "two for validation",
        "csv",
        {"train.csv": TRAIN, "val.csv": VALID, "valid.csv": VALID, "test.csv": TEST},
        "one file",
        "val.csv, valid.csv",
    ),
    *(
        Case(
            f"features in {name}",
            "csv",
            {"interactions.csv": LOG, name: b"\x80\x04"},
            (f"not read: {name}", "numpy.save"),
            modalities={},
        )
        for name in ("v.npz", "v.pt", "v.pth", "v.pkl", "v.pickle", "v.mat", "v.h5", "v.hdf5", "v.safetensors", "V.PT")
    ),
    Case("features in csv", "csv", {"interactions.csv": LOG, "emb.csv": NUMBERED}, modalities={"emb": 2}),
    Case(
        "by their name",
        "csv",
        {"interactions.csv": LOG, "visual.csv": NUMBERED.replace("f0,f1", "a,b")},
        modalities={"visual": 2},
    ),
    Case(
        "in tsv",
        "parquet",
        {"interactions.parquet": LOG, "emb.tsv": NUMBERED.replace(",", "\t")},
        modalities={"emb": 2},
    ),
    Case(
        "numbers that may be features",
        "csv",
        {"interactions.csv": LOG, "facts.csv": NUMBERED.replace("f0,f1", "year,price")},
        ("facts.csv: items with numbers", "features={'facts': 'facts.csv'}"),
        modalities={},
    ),
    Case(
        "and are, if named",
        "csv",
        {"interactions.csv": LOG, "facts.csv": NUMBERED.replace("f0,f1", "year,price")},
        options={"features": {"facts": "facts.csv"}},
        modalities={"facts": 2},
    ),
    Case(
        "another log beside it",
        "csv",
        {"interactions.csv": LOG, "ratings.csv": RATED},
        ("files not read: ratings.csv",),
    ),
    Case(
        "anything else",
        "csv",
        {"interactions.csv": LOG, "tags.csv": "a,b\n1,x\n", "notes_1.md": "hi"},
        ("files not read: notes_1.md, tags.csv",),
    ),
    Case("system files", "csv", {"interactions.csv": LOG, ".DS_Store": "x", "Thumbs.db": "x"}),
    wrong(
        "a feature file that is not there",
        "csv",
        {"interactions.csv": LOG},
        "names no file",
        "'v.npy'",
        "interactions.csv",
        features={"v": "v.npy"},
    ),
    wrong(
        "features as pickle, named",
        "csv",
        {"interactions.csv": LOG, "v.pkl": b"x"},
        "v.pkl",
        "expected .npy",
        features={"v": "v.pkl"},
    ),
    wrong(
        "a reserved name",
        "csv",
        {"interactions.csv": LOG, "v.npy": A8},
        "name of a modality",
        "'id'",
        features={"id": "v.npy"},
    ),
    wrong(
        "the name of a prior",
        "csv",
        {"interactions.csv": LOG, "v.npy": A8},
        "expected a name that is not reserved: parts of a score have it",
        "'popularity'",
        "rename the modality, for example to popularity_features",
        features={"popularity": "v.npy"},
    ),
    wrong(
        "visual twice",
        "csv",
        {"interactions.csv": LOG, "visual.npy": A8, "b.npy": A8},
        "'visual' twice",
        features={"visual": "b.npy"},
    ),
]

READ += [
    wrong(
        "validation in another format",
        "lists",
        {"train.txt": "1 2 3\n", "test.txt": "1 4\n", "valid.dat": "1 5\n"},
        "valid.dat",
        "a split that is not known",
    ),
    Case(
        "a part in two formats",
        "lists",
        {"train.txt": "1 2 3\n", "test.txt": "1 4\n", "train.csv": "x"},
        ("files not read: train.csv",),
    ),
    Case(
        "rows without a needed rating",
        "csv",
        {"interactions.csv": RATED + "d,0,\n"},
        ("rows skipped: no rating",),
        {"on_error": "skip", "rating_threshold": 3},
        pairs=3,
    ),
]

MEANT = [  # a meaning is taken by a rule, and said
    Case(
        "title before original_title",
        "csv",
        {"interactions.csv": "user_id,item_id\na,0\n", "items.csv": "item_id,original_title,title\n0,Le T,The T\n"},
        titles=("The T",),
    ),
    Case(
        "a name is a title",
        "csv",
        {"interactions.csv": "user_id,item_id\na,0\n", "items.csv": "item_id,name\n0,N\n"},
        titles=("N",),
    ),
    Case(
        "title before name",
        "csv",
        {"interactions.csv": "user_id,item_id\na,0\n", "items.csv": "item_id,name,title\n0,N,T\n"},
        titles=("T",),
    ),
    Case(
        "a named title",
        "csv",
        {"interactions.csv": "user_id,item_id\na,0\n", "items.csv": "item_id,title,label\n0,T,L\n"},
        options={"title_column": "label"},
        titles=("L",),
    ),
    wrong(
        "a title that is not there",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS},
        "items.csv",
        "'label'",
        "'title'",
        title_column="label",
    ),
    wrong(
        "triples as lists",
        "lists",
        {"train.txt": TRIPLES, "test.txt": "1 2\n"},
        "train.txt, row 2",
        "user, item, rating?",
        "format csv",
    ),
    wrong(
        "triples in test alone",
        "lists",
        {"train.txt": "1 2 3 4\n2 1\n3 5\n", "test.txt": TRIPLES},
        "test.txt, row 2",
        "user, item, rating?",
    ),
    wrong("triples as sequences", "sequences", {"log.txt": TRIPLES}, "log.txt, row 2", "user, item, rating?"),
    Case(
        "ratings without a threshold",
        "csv",
        {"interactions.csv": RATED},
        ("ratings 1 to 5, all kept as positives",),
        pairs=5,
    ),
    Case(
        "ratings that are all the same", "csv", {"interactions.csv": "user_id,item_id,rating\na,0,1\nb,1,1\n"}, pairs=2
    ),
    Case(
        "events without a choice",
        "csv",
        {"interactions.csv": EVENTS},
        ("events view, buy, dislike of column 'event', all kept",),
        pairs=4,
    ),
    wrong(
        "features of other ids",
        "csv",
        {"interactions.csv": LOG, "v.parquet": pl.DataFrame({"item_id": ["a", "b"], "x": [1.0, 2.0]})},
        "v.parquet",
        "match no item",
        "ids like '0'",
        "'a'",
    ),
    wrong(
        "features whose ids lost zeros",
        "csv",
        {
            "interactions.csv": "user_id,item_id\na,007\nb,012\n",
            "v.parquet": pl.DataFrame({"item_id": [7, 12], "x": [1.0, 2.0]}),
        },
        "match no item",
        "without leading zeros 2 ids",
    ),
    Case(
        "every item once",
        "csv",
        {"interactions.csv": "user_id,item_id\n" + "".join(f"u{n % 5},h{n}\n" for n in range(30))},
        ("every item occurs once",),
    ),
    Case(
        "histories in one field",
        "csv",
        {"interactions.csv": "user_id,item_id\nu1,i1 i2 i3\nu2,i2 i4\n"},
        ("item ids that hold blanks, commas or bars",),
    ),
    wrong(
        "a time across users",
        "sequences",
        {"log.tsv": SEQUENCES},
        "split by time",
        "order of each user alone",
        split="time",
    ),
]

FORMATS = [  # formats that people have
    Case("sequences", "sequences", {"log.tsv": SEQUENCES}, source="log.tsv", pairs=6),
    Case(
        "their last item is test",
        "sequences",
        {"log.tsv": SEQUENCES},
        options={"split": "leave-one-out"},
        counts=(3, 1, 2),
    ),
    Case(
        "with titles",
        "sequences",
        {"a_pairs.tsv": SEQUENCES, "a_titles.csv": "item,title\nx,X\ny,Y\nz,Z\n"},
        titles=("X", "Y", "Z"),
    ),
    Case(
        "in ascending order",
        "sequences",
        {"log.txt": "".join(f"{u} 1 2 3\n" if u % 2 else f"{u} 4 5 6 7\n" for u in range(40))},
        ("ascending order",),
    ),
    Case("with commas", "sequences", {"log.txt": "a,x,y\nb,y\n"}, options={"separator": ","}, pairs=3),
    wrong(
        "with commas, not said",
        "sequences",
        {"log.txt": "a,x,y\nb,y\n"},
        "log.txt, row 1",
        "without white space",
        "separator=','",
    ),
    Case(
        "split sequences",
        "sequences",
        {"train.txt": "a x y\n", "valid.txt": "a z\n", "test.txt": "a w\n"},
        counts=(2, 1, 1),
    ),
    Case(
        "pairs in a text file",
        "pairs",
        {"Video.txt": "1 5\n1 6\n2 5\n"},
        ("order is not used",),
        source="Video.txt",
        pairs=3,
    ),
    Case("the only file of a folder", "pairs", {"Video.txt": "1 5\n1 6\n2 5\n"}, pairs=3),
    wrong(
        "pairs with three fields",
        "pairs",
        {"Video.txt": TRIPLES},
        "Video.txt, row 1",
        "two ids",
        "format csv",
        source="Video.txt",
    ),
    Case("pairs (2, n)", "pairs", {"interactions.npy": PAIRS}, pairs=5),
    Case("pairs (n, 2)", "pairs", {"my.npy": PAIRS.T}, source="my.npy", pairs=5),
    Case(
        "their splits",
        "pairs",
        {"train.npy": PAIRS, "valid.npy": PAIRS[:, :3] + 3, "test.npy": PAIRS.T[:3] + 9},
        counts=(5, 3, 3),
    ),
    Case(
        "with features",
        "pairs",
        {"train.npy": PAIRS, "test.npy": np.array([[0, 2, 2], [2, 1, 2]]), "image_feat.npy": A3},
        modalities={"visual": 2},
    ),
    wrong("pairs of two", "pairs", {"interactions.npy": np.eye(2, dtype=int)}, "shape (2, 2)", "rows or its columns"),
    wrong("pairs that are features", "pairs", {"interactions.npy": A8[:, :1]}, "interactions.npy", "(2, n) or (n, 2)"),
    Case("a sparse matrix", "pairs", {"interactions.npz": MATRIX}, ("ratings 1 to 5",), pairs=3),
    Case("its threshold", "pairs", {"m.npz": MATRIX}, options={"rating_threshold": 3}, source="m.npz", pairs=2),
    Case(
        "its splits",
        "pairs",
        {"train.npz": MATRIX, "test.npz": MATRIX},
        ("duplicates across splits",),
        counts=(3, 0, 0),
        options={"ratios": (1, 0, 0)},
    ),
    wrong("an archive of arrays", "pairs", {"interactions.npz": b"PK"}, "interactions.npz", "not a sparse matrix"),
    Case(
        "JSON lines",
        "json",
        {"interactions.jsonl": '{"user_id": 1, "item_id": "a"}\n{"user_id": 2, "item_id": "b"}\n'},
        pairs=2,
    ),
    Case(
        "a JSON array",
        "json",
        {"log.json": '[{"user_id": 1, "item_id": "a"}, {"user_id": 2, "item_id": "b"}]'},
        source="log.json",
        pairs=2,
    ),
    Case(
        "RecBole's benchmark files",
        "recbole",
        {
            "b.train.inter": ATOMIC + "a\tx\na\ty\n",
            "b.valid.inter": ATOMIC + "a\tz\n",
            "b.test.inter": ATOMIC + "b\tx\n",
            "b.item": "item_id:token\tt:token\nx\t1\ny\t2\nz\t3\n",
        },
        counts=(2, 1, 1),
    ),
    wrong(
        "one of them",
        "recbole",
        {"b.train.inter": ATOMIC + "a\tx\n", "b.test.inter": ATOMIC + "b\tx\n"},
        "one part of a log",
        "give the folder",
        source="b.train.inter",
    ),
    wrong(
        "no test among them",
        "recbole",
        {"b.train.inter": ATOMIC + "a\tx\n", "b.valid.inter": ATOMIC + "b\tx\n"},
        "no test file",
    ),
    Case(
        "ratings.csv and movies.csv",
        "csv",
        {"ratings.csv": RATED.replace("item_id", "movieId"), "movies.csv": "movieId,title\n0,A\n1,B\n"},
        options={"item_column": "movieId"},
        titles=("A", "B"),
    ),
    Case(
        "names with a prefix",
        "csv",
        {"BX-Book-Ratings.csv": RATED, "BX-Books.csv": "item_id,title\n0,A\n1,B\n"},
        titles=("A", "B"),
    ),
    wrong(
        "two that may be the log",
        "csv",
        {"ratings.csv": RATED, "clicks.csv": RATED},
        "several files",
        "clicks.csv, ratings.csv",
        "interactions='clicks.csv'",
    ),
    Case(
        "a named log",
        "csv",
        {"ratings.csv": RATED, "clicks.csv": LOG},
        ("files not read: ratings.csv",),
        {"interactions": "clicks.csv"},
        pairs=20,
    ),
    Case(
        "named tables",
        "csv",
        {"log.csv": LOG, "a.csv": ITEMS, "b.csv": "user_id,age\nu0,1\nu1,2\nu2,3\nu3,4\n"},
        (),
        {"interactions": "log.csv", "items": "a.csv", "users": "b.csv"},
        titles=tuple(f"Film {i}" for i in range(8)),
    ),
    wrong(
        "a log that is not there",
        "csv",
        {"log.csv": LOG},
        "interactions names no file",
        "'x.csv'",
        "log.csv",
        interactions="x.csv",
    ),
    Case(
        "an id column per table",
        "csv",
        {"rating.csv": RATED.replace("item_id", "anime_id"), "anime.csv": "mal,name\n0,A\n1,B\n"},
        options={"item_column": "anime_id", "items_id_column": "mal"},
        titles=("A", "B"),
    ),
    Case(
        "a usual id beside another name",
        "csv",
        {"rating.csv": RATED.replace("item_id", "anime_id"), "items.csv": "item_id,name\n0,A\n1,B\n"},
        options={"item_column": "anime_id"},
        titles=("A", "B"),
    ),
    wrong(
        "no id in the items",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS.replace("item_id", "nr")},
        "items.csv",
        "no column of item ids",
        "items_id_column",
    ),
    Case(
        "one event",
        "csv",
        {"interactions.csv": EVENTS},
        ("other events",),
        {"event_column": "event", "positive": ("buy",)},
        pairs=2,
    ),
    Case(
        "a negative event",
        "csv",
        {"interactions.csv": EVENTS},
        ("negative events", "disliked pairs"),
        {"event_column": "event", "negative": ["dislike"]},
        pairs=3,
    ),
    wrong(
        "an event that does not occur",
        "csv",
        {"interactions.csv": EVENTS},
        "event",
        "'view' (2)",
        "'purchase'",
        event_column="event",
        positive=("purchase",),
    ),
    wrong(
        "events without a column",
        "csv",
        {"interactions.csv": LOG},
        "positive and negative events",
        "event_column",
        positive=("buy",),
    ),
    wrong(
        "a column of events that is not there",
        "csv",
        {"interactions.csv": LOG},
        "no event column",
        "'type'",
        event_column="type",
    ),
    Case(
        "dislikes",
        "csv",
        {"interactions.csv": RATED},
        ("disliked pairs", "below rating threshold"),
        {"rating_threshold": 4},
        pairs=2,
    ),
    Case(
        "hours as weights",
        "csv",
        {"interactions.csv": RATED.replace("rating", "hours")},
        (),
        {"rating_column": "hours", "rating_threshold": 2},
        pairs=4,
    ),
    wrong(
        "items that the table lacks",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS[:-18]},
        "row 16",
        "unknown item",
        "3 of 20 interactions name 2 unknown items",
        "unknown_items=drop",
    ),
    Case(
        "dropped",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS[:-18]},
        ("not in items.csv: dropped",),
        {"unknown_items": "drop"},
        pairs=17,
    ),
    Case(
        "kept",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS[:-18]},
        ("not in items.csv: kept",),
        {"unknown_items": "keep"},
        pairs=20,
    ),
    Case(
        "kept beside rows",
        "csv",
        {"interactions.csv": LOG, "v.npy": A8[:6]},
        ("not rows of v.npy: kept", "v: items that lack it"),
        {"unknown_items": "keep"},
        pairs=20,
    ),
    wrong(
        "users that the table lacks",
        "csv",
        {"interactions.csv": LOG, "users.csv": "user_id\nu0\n"},
        "row 7",
        "15 of 20 interactions name 3 unknown users",
        "unknown_users=drop",
    ),
    Case(
        "dropped users",
        "csv",
        {"interactions.csv": LOG, "users.csv": "user_id\nu0\n"},
        ("not in users.csv: dropped",),
        {"unknown_users": "drop"},
        pairs=5,
    ),
    Case(
        "features of unknown items",
        "csv",
        {"interactions.csv": LOG, "items.csv": ITEMS, "v.parquet": pl.DataFrame({"item_id": [0, 99], "x": [1.0, 2.0]})},
        ("features of items that are not in items.csv: dropped",),
        {"unknown_items": "drop"},
        modalities={"v": 1},
    ),
    wrong(
        "only unknown items",
        "csv",
        {"interactions.csv": LOG, "items.csv": "item_id\nx\n"},
        "no interactions are left",
        unknown_items="drop",
    ),
    Case(
        "rows skipped",
        "csv",
        {"interactions.csv": RATED + "c,0,bad\n,1,3\nd\n"},
        ("rows skipped",),
        {"on_error": "skip"},
        pairs=5,
    ),
    Case(
        "no header",
        "csv",
        {"ratings.txt": "1 5 4\n1 6 2\n2 5 1\n"},
        (),
        {"separator": " ", "header": ("user_id", "item_id", "rating"), "rating_threshold": 2},
        pairs=2,
    ),
    Case(".CSV", "csv", {"LOG.CSV": LOG}, source="LOG.CSV", pairs=20),
    Case(
        "a folder with ITEMS.CSV",
        "csv",
        {"Interactions.Csv": LOG, "ITEMS.CSV": ITEMS},
        titles=tuple(f"Film {i}" for i in range(8)),
    ),
    Case(
        "a .PARQUET",
        "parquet",
        {"Log.PARQUET": pl.DataFrame({"user_id": [1], "item_id": [2]})},
        source="Log.PARQUET",
        pairs=1,
    ),
    Case(
        "an .INTER",
        "recbole",
        {"A.INTER": ATOMIC + "a\tx\n", "A.ITEM": "item_id:token\ttitle:token_seq\nx\tX\n"},
        titles=("X",),
    ),
    wrong(
        "a file for lists",
        "lists",
        {"train.txt": "0 1\n", "test.txt": "0 2\n"},
        "a folder is expected",
        source="train.txt",
    ),
]

CAUSES = [  # a refusal says what the source looks like
    wrong(
        "lists as csv",
        "csv",
        {"train.txt": "0 1 2\n1 3\n", "test.txt": "0 4\n1 5\n"},
        "no interactions",
        "looks like format lists",
    ),
    wrong("semicolons", "csv", {"log.csv": RATED.replace(",", ";")}, "log.csv", "separator"),
    wrong("no header, commas", "csv", {"log.csv": "1,5,4\n1,6,2\n2,5,1\n"}, "log.csv", "header="),
    wrong("MMRec as RecBole", "csv", {"a.inter": MMREC}, "no interactions", "looks like format mmrec"),
    wrong(
        "arrays of pairs as csv",
        "csv",
        {"train.npy": PAIRS, "test.npy": PAIRS},
        "no interactions",
        "looks like format pairs",
    ),
    wrong(
        "JSON of users as json",
        "json",
        {"train.json": '{"0": [1]}', "test.json": '{"0": [2]}'},
        "looks like format mmssl",
    ),
    wrong("a sequence file as csv", "csv", {"pairs.tsv": SEQUENCES}, "looks like format sequences"),
    wrong(
        "other columns",
        "csv",
        {"log.csv": RATED.replace("user_id", "customer").replace("item_id", "sku")},
        "user_column='customer'",
    ),
    wrong("a spreadsheet", "csv", {"log.csv": b"PK\x03\x04 nothing"}, "log.csv"),
]


def write(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        if isinstance(content, str) and name.endswith(".parquet"):
            content = pl.read_csv(content.encode())
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        elif sp.issparse(content):
            sp.save_npz(path, content)
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("case", [*READ, *MEANT, *FORMATS, *CAUSES], ids=lambda case: f"{case.format}: {case.name}")
def test_a_log_is_imported_or_refused_and_says_what_a_person_needs(case: Case, tmp_path: Path):
    folder, out = tmp_path / "source", tmp_path / "out"
    folder.mkdir()
    write(folder, case.files)
    if not case.ok:
        with pytest.raises(InputError) as caught:
            import_dataset(case.format, folder / case.source, out, **case.options)
        message, position = str(caught.value), 0
        for part in case.said:
            assert part in message[position:], f"{part!r} is not in {message[position:]!r}"
            position = message.index(part, position) + len(part)
        assert "\n" not in message and not out.exists()
        return
    data = import_dataset(case.format, folder / case.source, out, **case.options)
    Dataset(out, verify=True)
    said = list(inspect_dataset(data).oddities())
    for part in case.said:
        assert any(part in each for each in said), said
    if not case.said:
        assert not [each for each in said if "not read" in each], said
    if case.counts is not None:
        assert tuple(data.manifest.num_interactions.values()) == case.counts
    if case.pairs is not None:
        assert sum(data.manifest.num_interactions.values()) == case.pairs
    if case.modalities is not None:
        assert {name: record.dim for name, record in data.manifest.modalities.items()} == dict(case.modalities)
    if case.titles is not None:
        assert tuple(data.title(row) for row in range(len(data.items))) == case.titles


def test_names_of_cases_are_distinct_and_no_pickle_is_loaded(tmp_path):
    cases = [(case.format, case.name) for case in (*READ, *MEANT, *FORMATS, *CAUSES)]
    assert len(set(cases)) == len(cases)

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    folder = tmp_path / "s"
    folder.mkdir()
    bomb = pickle.dumps(Bomb())
    write(folder, {"a.inter": MMREC, "x.npy": bomb, "y.npz": bomb, "z.pkl": bomb})
    import_dataset("mmrec", folder, tmp_path / "out")
    with pytest.raises(InputError):
        import_dataset("pairs", folder / "y.npz", tmp_path / "other")
    assert not (tmp_path / "exploded").exists()
