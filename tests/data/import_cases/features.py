"""Features of items: what is read, what is not, and under which name."""

import polars as pl
from tests.data.import_cases.case import Case, wrong
from tests.data.import_cases.logs import A3, A8, ATOMIC, LOG, MMREC

NUMBERED = "item_id,f0,f1\n" + "".join(f"{i},{i}.5,1\n" for i in range(8))

FEATURES = [
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
]
