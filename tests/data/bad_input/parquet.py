"""Bad Parquet files."""

import polars as pl
from tests.data.bad_input.case import Case, cut_short_parquet, parquet, text

PARQUET = [
    Case(
        "no parquet",
        text(("interactions.parquet", "hello")),
        ("interactions.parquet", "not a readable parquet"),
        "parquet",
    ),
    Case("a truncated parquet", cut_short_parquet, ("interactions.parquet", "not a readable parquet"), "parquet"),
    Case(
        "a null id in parquet",
        parquet(pl.DataFrame({"user_id": [1, None], "item_id": [1, 2]})),
        ("interactions.parquet, row 2", "user_id", "nothing"),
        "parquet",
    ),
    Case(
        "an id that is a fraction",
        parquet(pl.DataFrame({"user_id": [1.0, 1.5], "item_id": [1, 2]})),
        ("interactions.parquet, row 2", "whole number", "1.5"),
        "parquet",
    ),
    Case(
        "an id that is a list",
        parquet(pl.DataFrame({"user_id": [[1]], "item_id": [1]})),
        ("interactions.parquet", "one id per row", "List"),
        "parquet",
    ),
    Case(
        "lists of two lengths",
        parquet(pl.DataFrame({"item_id": [0, 1], "v": [[1.0, 2.0], [3.0]]}), "mood.parquet"),
        ("mood.parquet, row 2", "2 numbers", "got 1"),
    ),
    Case(
        "NaN in parquet",
        parquet(pl.DataFrame({"item_id": [0, 1], "v": [1.0, None]}), "mood.parquet"),
        ("mood.parquet, row 2", "finite number", "nan"),
    ),
    Case(
        "text in parquet features",
        parquet(pl.DataFrame({"item_id": [0], "v": ["x"]}), "mood.parquet"),
        ("mood.parquet", "numeric columns", "'v' (String)"),
    ),
    Case(
        "an item twice in features",
        parquet(pl.DataFrame({"item_id": [0, 0], "v": [1.0, 2.0]}), "mood.parquet"),
        ("mood.parquet, row 2", "distinct", "'0'"),
    ),
]
