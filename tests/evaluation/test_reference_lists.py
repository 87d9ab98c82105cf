"""Popular and random lists against sorting and against the uniform distribution."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medley.evaluation.ranking import Queries
from medley.evaluation.reference_lists import popular_lists, random_lists
from medley.evaluation.ties import tie_places
from medley.types import Interactions


def queries_of(seen):
    """Every user has the last item, which nobody has seen, held out."""
    user = np.arange(len(seen), dtype=np.int32)
    last = np.full(len(seen), seen.shape[1] - 1, dtype=np.int32)
    return Queries.of(Interactions(user, last, *seen.shape), sp.csr_array(seen))


@st.composite
def worlds(draw):
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 8))
    seen = draw(arrays(np.bool_, shape))
    seen[:, -1] = False
    return seen, draw(arrays(np.int64, shape[1], elements=st.integers(0, 3)))


@given(worlds(), st.integers(1, 9))
def test_popular_lists_are_sorted_unseen_items(world, k):
    seen, popularity = world
    found, place = popular_lists(queries_of(seen), popularity, k), tie_places(len(popularity))
    for row, of_user in zip(found, seen, strict=True):
        best = sorted(np.flatnonzero(~of_user), key=lambda item: (-popularity[item], place[item]))[:k]
        assert row.tolist() == best + [-1] * (k - len(best))


@given(worlds(), st.integers(1, 9))
def test_random_lists_are_distinct_unseen_items(world, k):
    seen, _ = world
    found = random_lists(queries_of(seen), k, generator=np.random.default_rng(0))
    for row, of_user in zip(found, seen, strict=True):
        items = row[row >= 0]
        assert len(items) == min(k, (~of_user).sum()) == len(set(items.tolist())) and not of_user[items].any()


def test_every_unseen_item_is_drawn_equally_often():
    seen = np.zeros((20_000, 6), dtype=bool)
    seen[:, 2] = True
    found = random_lists(queries_of(seen), 2, generator=np.random.default_rng(0))
    share = np.bincount(found.ravel(), minlength=6) / len(seen)
    np.testing.assert_allclose(share, [0.4, 0.4, 0, 0.4, 0.4, 0.4], atol=0.015)
