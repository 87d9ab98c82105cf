"""Which items pass a filter."""

import datetime
import threading

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import InputError
from medley.serving import filters as filters_module
from medley.serving.columns import separator_of
from medley.serving.filters import Filter, ItemFilters

ITEMS = pl.DataFrame(
    {
        "title": ["Heat", "Alien", "Big", "Jaws", None, "Up"],
        "genres": ["Action|Crime", "Action|Horror", "Comedy", "Horror|Action", None, ""],
        "year": [1995, 1979, 1988, 1975, None, 2009],
        "rating": [8.3, 8.5, float("nan"), 8.0, None, 8.2],
        "decade": ["1990", "1970", "1980", "1970", None, "2000"],
        "cast": [["De Niro", "Pacino"], ["Weaver"], ["Hanks"], [], None, ["Asner"]],
        "colour": [True, True, True, True, None, False],
        "released": [datetime.date(1995, 12, 15), datetime.date(1979, 5, 25), None, None, None, None],
        "added": [datetime.datetime(2024, 1, 1, 12), None, None, None, None, datetime.datetime(2025, 1, 1)],
        "record": [{"a": 1}] * 6,
    }
)
SEPARATORS = {"genres": "|"}


@pytest.fixture
def items() -> ItemFilters:
    return ItemFilters(ITEMS, separators=SEPARATORS)


def passing(items: ItemFilters, **document) -> list[int]:
    mask = items.mask(Filter.parse(document))
    return list(range(len(items))) if mask is None else np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "title", "eq": "Heat"}, [0]),
        ({"field": "title", "in": ["Heat", "Jaws", "Nothing"]}, [0, 3]),
        ({"field": "title", "gte": "B", "lte": "I"}, [0, 2]),
        ({"field": "genres", "eq": "Action"}, [0, 1, 3]),
        ({"field": "genres", "in": ["Crime", "Comedy"]}, [0, 2]),
        ({"field": "genres", "eq": "Action|Horror"}, [1]),  # the whole cell
        ({"field": "genres", "eq": ""}, []),
        ({"field": "year", "gte": 1979, "lte": 1995}, [0, 1, 2]),
        ({"field": "year", "gte": 1978.5}, [0, 1, 2, 5]),
        ({"field": "year", "eq": 1979.0}, [1]),
        ({"field": "year", "in": [1979, 1979.5, 10**30]}, [1]),
        ({"field": "year", "lte": 10**30}, [0, 1, 2, 3, 5]),
        ({"field": "rating", "gte": 8.2}, [0, 1, 5]),  # NaN is missing
        ({"field": "rating", "in": [8, 8.5]}, [1, 3]),
        ({"field": "decade", "lte": 1980}, [1, 2, 3]),  # text that holds numbers
        ({"field": "decade", "eq": "1990"}, [0]),
        ({"field": "decade", "eq": 1990}, [0]),
        ({"field": "cast", "in": ["Pacino", "Asner"]}, [0, 5]),
        ({"field": "colour", "eq": False}, [5]),
        ({"field": "colour", "in": [True, False]}, [0, 1, 2, 3, 5]),
        ({"field": "released", "gte": "1980-01-01"}, [0]),
        ({"field": "released", "eq": "1979-05-25"}, [1]),
        ({"field": "added", "lte": "2024-01-01T12:00:00+00:00"}, [0]),
        ({"field": "added", "gte": "2024-01-01T14:00:00+01:00"}, [5]),
    ],
)
def test_a_condition_holds_for_the_cells_that_fit_and_never_for_a_missing_value(items, condition, expected):
    assert passing(items, must=[condition]) == expected
    assert passing(items, must_not=[condition]) == [row for row in range(6) if row not in expected]


def test_must_must_not_and_should_are_combined(items):
    action, horror = {"field": "genres", "eq": "Action"}, {"field": "genres", "eq": "Horror"}
    late, heat = {"field": "year", "gte": 1978}, {"field": "title", "eq": "Heat"}
    assert passing(items, must=[action, horror]) == [1, 3]
    assert passing(items, must=[action], must_not=[heat, {"field": "year", "lte": 1975}]) == [1]
    assert passing(items, should=[horror, heat]) == [0, 1, 3]
    assert passing(items, must=[late], must_not=[heat], should=[action, {"field": "title", "eq": "Big"}]) == [1, 2]
    assert passing(items) == [0, 1, 2, 3, 4, 5]
    assert items.mask(None) is None
    assert items.mask(Filter()) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"musst": []}, "unknown field 'musst' of the filter.*did you mean must"),
        ({"must": {}}, "a list"),
        ([], "names with values"),
        ("Action", "names with values"),
        ({"must": [{"eq": 1}]}, "'must.0.field' of the filter is missing"),
        ({"must": [{"field": "year"}]}, "one of eq, in, or a range"),
        ({"must": [{"field": "year", "eq": 1, "gte": 2}]}, "one of eq, in, or a range"),
        ({"must": [{"field": "year", "eq": None}]}, "text, a finite number"),
        ({"must": [{"field": "year", "eq": [1]}]}, "text, a finite number"),
        ({"must": [{"field": "year", "gte": float("inf")}]}, "text, a finite number"),
        ({"must": [{"field": "year", "in": []}]}, "at least 1"),
        ({"must": [{"field": "year", "in": 5}]}, "a list"),
        ({"must": [{"field": "year", "is": 5}]}, "unknown field 'must.0.is'"),
        ({"must": [{"field": 5, "eq": 5}]}, "text"),
        ({"should": [{"field": "year", "eq": 5}] * 101}, "at most 100"),
    ],
)
def test_a_malformed_filter_is_refused(document, message):
    with pytest.raises(InputError, match=message):
        Filter.parse(document)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"field": "yaer", "eq": 1}, "did you mean year. the columns are title"),
        ({"field": "record", "eq": 1}, "column of the items"),
        ({"field": "year", "eq": "1995"}, "value of 'year': expected a number, got '1995'"),
        ({"field": "year", "gte": True}, "expected a number, got True"),
        ({"field": "title", "eq": 1.5}, "expected text, got 1.5"),
        ({"field": "decade", "gte": "old"}, "expected a number, got 'old'"),
        ({"field": "colour", "eq": "yes"}, "expected true or false, got 'yes'"),
        ({"field": "colour", "gte": True}, "its values have no order"),
        ({"field": "genres", "lte": "Horror"}, "its values have no order"),
        ({"field": "released", "eq": "yesterday"}, "a time .ISO 8601., got 'yesterday'"),
        ({"field": "released", "gte": 1990}, "a time"),
    ],
)
def test_a_filter_that_does_not_fit_the_columns_is_refused(items, condition, message):
    for place in ("must", "must_not", "should"):
        with pytest.raises(InputError, match=message):
            items.mask(Filter.parse({place: [condition]}))


def test_changed_and_new_items_count_at_once_in_masks_that_were_asked_for_before_and_in_new_ones(items):
    action = Filter.parse({"must": [{"field": "genres", "eq": "Action"}]})
    before = items.mask(action)
    assert items.mask(action) is before  # cached
    items.put(6, {"title": "New", "genres": ["Action", "Musical"], "year": 2026, "decade": 2020, "cast": ["Me"]})
    items.put(0, {"title": "Heat", "genres": "Crime"})
    assert np.flatnonzero(items.mask(action)).tolist() == [1, 3, 6]
    assert np.flatnonzero(before).tolist() == [0, 1, 3]  # a mask that was handed out does not change
    assert passing(items, must=[{"field": "genres", "in": ["Musical", "Crime"]}]) == [0, 6]
    assert passing(items, must=[{"field": "year", "gte": 1900}]) == [1, 2, 3, 5, 6]  # row 0 has no year any more
    assert passing(items, must=[{"field": "decade", "eq": 2020}]) == [6]
    assert passing(items, must=[{"field": "cast", "eq": "Me"}]) == [6]
    items.put(0, {"released": "1995-12-15", "colour": True, "genres": "Action"})
    assert passing(items, must=[{"field": "released", "eq": "1995-12-15"}, {"field": "colour", "eq": True}]) == [0]
    assert np.flatnonzero(items.mask(action)).tolist() == [0, 1, 3, 6]
    with pytest.raises(ValueError, match="read-only"):
        before[0] = False


@pytest.mark.parametrize(
    ("row", "values", "message"),
    [
        (8, {}, "row of the item: expected 0 to 6"),
        (-1, {}, "row of the item"),
        (0, {"yeer": 5}, "did you mean year"),
        (0, {"year": "late"}, "expected a number"),
        (0, {"year": 1999.5}, "a whole number"),
        (0, {"title": ["a"]}, "expected text"),
        (0, {"cast": [1.5]}, "expected text"),
        (0, {"colour": 1}, "true or false"),
        (0, {"decade": True}, "expected a number"),
    ],
)
def test_values_that_do_not_fit_the_columns_are_refused_and_change_nothing(items, row, values, message):
    with pytest.raises(InputError, match=message):
        items.put(row, values)
    assert len(items) == 6
    assert passing(items, must=[{"field": "title", "eq": "Heat"}]) == [0]


@given(st.data())
def test_masks_that_are_patched_equal_masks_that_are_computed(data):
    number = st.one_of(st.none(), st.integers(0, 5))
    genres = st.one_of(st.none(), st.lists(st.sampled_from("abc"), max_size=3).map("|".join))
    row = st.fixed_dictionaries({"genres": genres, "year": number})
    table = data.draw(st.lists(row, min_size=1, max_size=5))
    schema = {"genres": pl.String, "year": pl.Int64}
    items = ItemFilters(pl.DataFrame(table, schema=schema), separators=SEPARATORS)
    tests = [
        {"field": "genres", "eq": "a"},
        {"field": "year", "gte": 2, "lte": 4},
        {"field": "genres", "in": ["b", "c"]},
    ]
    chosen = [Filter.parse({place: [test]}) for place in ("must", "must_not") for test in tests]
    for which in chosen:
        items.mask(which)
    for at, values in data.draw(st.lists(st.tuples(st.integers(0, 9), row), max_size=6)):
        place = min(at, len(table))
        items.put(place, values)
        table[place : place + 1] = [values]
    fresh = ItemFilters(pl.DataFrame(table, schema=schema), separators=SEPARATORS)
    for which in chosen:
        np.testing.assert_array_equal(items.mask(which), fresh.mask(which))


def test_a_column_that_cannot_be_filtered_may_have_values(items):
    items.put(0, {"record": {"a": 2}, "title": "Heat"})
    assert passing(items, must=[{"field": "title", "eq": "Heat"}]) == [0]


def test_a_long_history_of_changes_is_dropped_and_masks_stay_right(items, monkeypatch):
    monkeypatch.setattr(filters_module, "MAX_CHANGES", 5)
    for number in range(40):
        items.put(number % 3, {"title": f"t{number}"})
        assert passing(items, must=[{"field": "title", "eq": f"t{number}"}]) == [number % 3]
        assert passing(items, must=[{"field": "title", "eq": "Jaws"}]) == [3]
        assert len(items._changes) <= 5


def test_masks_take_bounded_memory(items, monkeypatch):
    monkeypatch.setattr(filters_module, "CACHE_BYTES", 60)
    for year in range(100):
        items.mask(Filter.parse({"must": [{"field": "year", "gte": year}]}))
    assert len(items._masks) == 10


def test_filters_can_be_asked_while_items_change(items):
    stop, wrong = threading.Event(), []
    new = Filter.parse({"must": [{"field": "title", "eq": "New"}]})

    def ask() -> None:
        last = 0
        while not stop.is_set():
            rows = np.flatnonzero(items.mask(new))
            if len(rows) < last or rows.tolist() != list(range(6, 6 + len(rows))):
                wrong.append(rows)
            last = len(rows)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for row in range(6, 206):
        items.put(row, {"title": "New"})
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert np.count_nonzero(items.mask(new)) == 200


def test_the_data_say_which_text_columns_hold_several_values(data_folder):
    movies = pl.read_csv(data_folder / "ml-100k/ml-100k.item", separator="\t", infer_schema=False, quote_char=None)
    assert separator_of(movies["class:token_seq"]) == " "
    assert separator_of(movies["movie_title:token_seq"]) is None
    artists = pl.read_csv(data_folder / "lfm2k/lfm2k.items.tsv", separator="\t", infer_schema=False, quote_char=None)
    assert separator_of(artists["tags"]) == ","
    articles = pl.read_parquet(data_folder / "hm/articles.parquet")
    texts = [name for name in articles.columns if articles[name].dtype == pl.String]
    assert [separator_of(articles[name]) for name in texts] == [None] * len(texts)
    items = ItemFilters(movies)
    year = movies["release_year:token"]
    unknown = year.filter(~year.str.contains(r"^\d+$"))  # in few rows
    nineties = items.mask(Filter.parse({"must": [{"field": year.name, "gte": 1990, "lte": 1999}]}))
    assert nineties.tolist() == year.str.contains(r"^199\d$").to_list()
    odd = items.mask(Filter.parse({"must": [{"field": year.name, "eq": unknown[0]}]}))
    assert odd.sum() == (unknown == unknown[0]).sum() > 0
    comedies = items.mask(Filter.parse({"must": [{"field": "class:token_seq", "eq": "Comedy"}]}))
    assert comedies.sum() == movies["class:token_seq"].str.split(" ").list.contains("Comedy").sum() > 100


def test_a_separator_can_be_given_or_refused():
    table = pl.DataFrame({"genres": ["a b", "b c", "a"], "year": [1, 2, 3]})
    fits = Filter.parse({"must": [{"field": "genres", "eq": "b"}]})
    assert ItemFilters(table, separators={"genres": " "}).mask(fits).tolist() == [True, True, False]
    assert not ItemFilters(table, separators={"genres": None}).mask(fits).any()
    with pytest.raises(InputError, match="a text column: genres"):
        ItemFilters(table, separators={"year": ","})
