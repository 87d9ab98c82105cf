"""Conversion of ids to rows and back."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.data.ids import IdMap
from medley.errors import InputError

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=1)


@given(texts)
def test_ids_come_back_from_their_rows(raw):
    ids = IdMap.of(pl.Series(raw), kind="item")
    assert len(ids) == len(set(raw))
    assert [ids.raw_id(row) for row in ids.rows(pl.Series(raw))] == raw
    assert [ids.row(raw_id) for raw_id in ids.raw] == list(range(len(ids)))


@given(texts, st.randoms())
def test_the_order_of_the_log_does_not_change_rows(raw, random):
    shuffled = raw.copy()
    random.shuffle(shuffled)
    assert IdMap.of(pl.Series(raw), kind="user").raw.equals(IdMap.of(pl.Series(shuffled), kind="user").raw)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_whole_numbers_are_in_numeric_order(numbers):
    assert IdMap.of(pl.Series(numbers), kind="user").raw.to_list() == [str(n) for n in sorted(set(numbers))]


def test_one_id_that_is_not_a_plain_number_makes_the_order_that_of_text():
    assert IdMap.of(pl.Series(["10", "9", "x"]), kind="item").raw.to_list() == ["10", "9", "x"]
    assert IdMap.of(pl.Series(["10", "9", "07"]), kind="item").raw.to_list() == ["07", "10", "9"]


def test_an_unknown_id_has_row_minus_one_in_bulk_and_a_clear_error_alone():
    ids = IdMap.of(pl.Series(["ann", "bob"]), kind="user")
    assert ids.rows(pl.Series(["bob", "eve"])).tolist() == [1, -1]
    with pytest.raises(InputError, match=r"unknown user id: got 'anne'. Remedy: did you mean ann\?"):
        ids.row("anne")


def test_whole_numbers_and_white_space_mean_the_same_id():
    ids = IdMap.of(pl.Series([1, 22]), kind="user")
    assert [ids.row(each) for each in (1, "1", " 1\t", np.int64(1), np.uint8(22))] == [0, 0, 0, 0, 1]
    odd = IdMap.of(pl.Series([" 1", "1"]), kind="user")
    assert odd.raw_id(odd.row(" 1")) == " 1"


@pytest.mark.parametrize("other", [1.0, None, True, np.bool_(True), b"1", [1], ("1",), np.array([1]), object()])
def test_anything_else_is_refused_as_an_id(other):
    with pytest.raises(InputError, match="user id: expected text or a whole number"):
        IdMap.of(pl.Series([1, 2]), kind="user").row(other)


def test_an_id_that_was_left_out_says_why():
    ids = IdMap(pl.Series(["ann"]), kind="user", left_out=lambda: {"bob": "kcore=5"})
    with pytest.raises(InputError, match="user 'bob' was left out by the import: got kcore=5"):
        ids.row(" bob")
    with pytest.raises(InputError, match="unknown user id"):
        ids.row("eve")


def test_an_id_twice_is_refused():
    with pytest.raises(InputError, match="item ids must be distinct: got 'x' twice"):
        IdMap(pl.Series(["x", "y", "x"]), kind="item")


def test_an_unknown_id_is_not_found_at_once_and_without_an_error():
    ids = IdMap(pl.Series(["a", "b c"]), kind="item")
    assert (ids.find("b c"), ids.find(" a "), ids.find("z")) == (1, 0, None)
