"""A meaning is taken by a rule, and said."""

from tests.data.import_cases.case import Case, wrong
from tests.data.import_cases.logs import EVENTS, ITEMS, LOG, RATED, SEQUENCES, TRIPLES

MEANINGS = [
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
