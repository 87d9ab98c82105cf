"""Groups of items: genres as people write them, head and tail by popularity."""

import numpy as np
import polars as pl
import pytest

from medley.errors import InputError
from medley.evaluation.item_groups import genres, popularity_groups


def shares(column, **options):
    items = pl.DataFrame({"item_id": [str(row) for row in range(len(column))], "kind": column})
    return genres(items, "kind", **options).toarray().tolist()


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (["b|a", "a", None, "b"], {}),
        (["b; a", "a", "", "b"], {}),
        (["b,a", "a", ",", "b,b"], {}),
        (["b a", "a", " ", "b"], {"separator": " "}),
        ([["b", "a"], ["a"], [], ["b"]], {}),
        ([["b", "a"], ["a"], None, ["b", None]], {}),
    ],
)
def test_an_item_belongs_to_its_genres_with_equal_shares(column, options):
    assert shares(column, **options) == [[0.5, 0.5], [1, 0], [0, 0], [0, 1]]


def test_a_value_without_separators_is_one_genre_and_numbers_are_genres_too():
    assert shares(["new wave", "jazz", "new wave"]) == [[0, 1], [1, 0], [0, 1]]
    assert shares([1990, 1980, 1990]) == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(("column", "message"), [("genre", "expected kind, got 'genre'"), ("item_id", "expected kind")])
def test_a_column_that_does_not_exist_is_refused_with_the_columns(column, message):
    with pytest.raises(InputError, match=message):
        genres(pl.DataFrame({"item_id": ["x"], "kind": ["a"]}), column)


def test_a_column_without_values_is_refused():
    with pytest.raises(InputError, match="column kind of the items: expected genres, got no value"):
        shares([None, ""])


def test_head_and_tail_hold_a_fifth_of_the_interactions_each():
    group = popularity_groups(np.array([1, 30, 0, 9, 10, 40, 10])).toarray().argmax(axis=1)
    # by popularity: 40 (0-40), 30 (40-70), 10 (70-80), 10 (80-90), 9, 1, 0: head from 0, middle from 20, tail from 80
    assert group.tolist() == [2, 1, 2, 2, 1, 0, 2]
