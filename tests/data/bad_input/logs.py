"""Bad logs: columns, rows, ids, numbers, times, splits, encodings."""

from tests.data.bad_input.case import LOG, Case, log, text

LOGS = [
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
]
