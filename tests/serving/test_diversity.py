"""Re-ranking for diversity, compared with its equation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import InputError
from medley.serving.diversity import num_candidates, rerank


def cosine(a, b):
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return 0.0 if size == 0 else a @ b / size


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
def test_the_order_is_that_of_the_equation(seed, k, diversity):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rng.integers(1, 10), 3)).astype(np.float32)
    vectors[rng.random(len(vectors)) < 0.1] = 0
    scores = np.sort(rng.normal(size=len(vectors)))[::-1]
    relevance = (scores - scores.min()) / (np.ptp(scores) or 1)
    expected = [0]
    while len(expected) < min(k, len(scores)):
        value = {
            i: (1 - diversity) * relevance[i]
            - diversity * max(cosine(vectors[i].astype(float), vectors[j].astype(float)) for j in expected)
            for i in range(len(scores))
            if i not in expected
        }
        expected.append(max(value, key=value.get))
    assert rerank(scores, vectors, k, diversity).tolist() == expected


def test_without_diversity_the_order_stays_and_with_it_lists_have_less_similar_items():
    rng = np.random.default_rng(0)
    vectors, scores = rng.normal(size=(100, 8)), np.sort(rng.random(100))[::-1]
    vectors[:20] = vectors[0] + 0.1 * rng.normal(size=(20, 8))  # the best items are nearly one

    def similarity(diversity: float) -> float:
        chosen = vectors[rerank(scores, vectors, 10, diversity)]
        units = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        return float((units @ units.T)[~np.eye(10, dtype=bool)].mean())

    assert rerank(scores, vectors, 10, 0).tolist() == list(range(10))
    assert similarity(0) > 0.9 > similarity(0.5) > similarity(1.0)


def test_equal_scores_and_few_candidates_are_no_problem():
    assert rerank(np.ones(3), np.eye(3), 5, 0.5).tolist() == [0, 1, 2]
    assert rerank(np.zeros(0), np.zeros((0, 3)), 5, 0.5).tolist() == []
    assert num_candidates(10, 0) == 10
    assert num_candidates(10, 0.1) == 50


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan"), True, "much"])
def test_a_share_outside_of_0_to_1_is_refused(diversity):
    with pytest.raises(InputError, match="a number from 0 to 1"):
        rerank(np.ones(3), np.eye(3), 5, diversity)


def test_bad_candidates_are_refused():
    with pytest.raises(InputError, match="finite"):
        rerank(np.array([np.nan]), np.ones((1, 2)), 1, 0.5)
    with pytest.raises(InputError, match="finite"):
        rerank(np.ones(1), np.full((1, 2), np.inf), 1, 0.5)
    with pytest.raises(InputError, match="rows of vectors of the candidates: expected 2, got 1"):
        rerank(np.ones(2), np.ones((1, 2)), 1, 0.5)
    with pytest.raises(InputError, match="at least 1"):
        rerank(np.ones(2), np.ones((2, 2)), 0, 0.5)
