"""Bad features and tables: rows, numbers, files of arrays."""

import pickle

import numpy as np
from tests.data.bad_input.case import (
    LOG,
    NAN,
    OK,
    SPIKE,
    Case,
    cut_short,
    features,
    raw_features,
    text,
    two_modalities,
    with_mask,
)

FEATURES = [
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
]
