"""A refusal says what the source looks like."""

from tests.data.import_cases.case import wrong
from tests.data.import_cases.logs import MMREC, PAIRS, RATED, SEQUENCES

CAUSES = [
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
