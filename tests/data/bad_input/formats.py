"""Bad files of other formats: RecBole, MMRec, lists, MMSSL."""

import pickle

from tests.data.bad_input.case import INTER, ITEM, LOG, MMREC, Case, listed, log, text

FORMATS = [
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
