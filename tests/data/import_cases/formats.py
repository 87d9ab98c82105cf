"""Formats that people have."""

import numpy as np
import scipy.sparse as sp
from tests.data.import_cases.case import Case, wrong
from tests.data.import_cases.logs import A3, A8, ATOMIC, MMREC, PAIRS, SEQUENCES, TRIPLES

MATRIX = sp.coo_array((np.array([5.0, 1.0, 3.0]), (np.array([0, 0, 1]), np.array([0, 2, 1]))), shape=(2, 4))

FORMATS = [
    Case("an untyped header with x_label", "recbole", {"a.inter": MMREC}, counts=(2, 1, 1)),
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
]
