"""Mean ranks and critical differences, against published critical values, scipy and plain loops."""

import numpy as np
import pytest
from scipy import stats

from medley.errors import InputError
from medley.report.rank_test import rank_test


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_values_are_those_that_demsar_published(k, q):
    values = {str(n): np.random.default_rng(n).random(50) for n in range(k)}
    critical = rank_test(values).critical_difference
    assert critical / np.sqrt(k * (k + 1) / (6 * 50)) == pytest.approx(q, abs=1.5e-3)


def test_ranks_agree_with_a_plain_loop_and_ties_share_their_mean():
    generator = np.random.default_rng(0)
    table = generator.integers(0, 4, (40, 5)) / 4  # many ties
    test = rank_test({str(n): table[:, n] for n in range(5)})
    expected = np.zeros(5)
    for row in table:
        for one in range(5):
            expected[one] += (
                1 + sum(other > row[one] for other in row) + (sum(other == row[one] for other in row) - 1) / 2
            )
    np.testing.assert_allclose(test.mean_rank, expected / 40)
    assert test.p_value == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)


def test_cliques_are_the_widest_groups_within_the_critical_difference():
    generator = np.random.default_rng(1)
    values = {str(n): generator.random(60) + 0.15 * n for n in range(7)}
    test = rank_test(values)
    ranks = sorted(test.mean_rank)
    groups = {
        tuple(ranks[i : j + 1])
        for i in range(7)
        for j in range(i + 1, 7)
        if ranks[j] - ranks[i] <= test.critical_difference
    }
    widest = {g for g in groups if not any(set(g) < set(other) for other in groups)}
    assert test.cliques == sorted((g[0], g[-1]) for g in widest) and len(widest) > 1


def test_equal_models_do_not_differ_and_differences_of_rounding_are_ties():
    values = np.random.default_rng(0).random(20)
    test = rank_test({"a": values, "b": values + 1e-15, "c": values - 1e-15})
    np.testing.assert_array_equal(test.mean_rank, 2)
    assert test.p_value == 1.0 and len(test.cliques) == 1


def test_two_models_different_blocks_and_nan_are_refused():
    with pytest.raises(InputError, match="three or more models"):
        rank_test({"a": [1, 2], "b": [2, 1]})
    with pytest.raises(InputError, match="the same blocks"):
        rank_test({"a": [1, 2], "b": [2, 1], "c": [1, 2, 3]})
    with pytest.raises(InputError, match="NaN or Inf"):
        rank_test({"a": [1, 2], "b": [2, 1], "c": [1, np.nan]})
