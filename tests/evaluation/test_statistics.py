"""Statistics against enumeration, textbook numbers and normal theory."""

import itertools

import numpy as np
import pytest

from medley.errors import InputError
from medley.evaluation.statistics import compare_paired, compare_with_first, holm, spread


def test_spread_divides_by_one_less_than_the_number_of_seeds():
    found = spread([0.1, 0.2, 0.3])
    assert (found.mean, found.std, found.num_values) == pytest.approx((0.2, 0.1, 3))
    assert str(found) == "0.2000 ± 0.1000"


def test_one_seed_has_no_spread():
    assert np.isnan(spread([0.5]).std)
    assert str(spread([0.5])) == "0.5000"


def test_few_users_are_tested_exactly_by_all_flips_of_signs():
    difference = np.array([0.3, 0.1, -0.05, 0.2, 0.4, 0.15])
    means = [np.mean(difference * signs) for signs in itertools.product([1, -1], repeat=6)]
    expected = np.mean(np.abs(means) >= abs(difference.mean()) - 1e-12)
    found = compare_paired(np.zeros(6), difference, generator=np.random.default_rng(0))
    assert found.p_value == pytest.approx(expected)


def test_the_interval_and_the_p_value_of_many_users_agree_with_normal_theory():
    rng = np.random.default_rng(0)
    first = rng.normal(size=2000)
    second = first + 0.05 + rng.normal(size=2000)
    found = compare_paired(first, second, generator=rng)
    error = (second - first).std(ddof=1) / np.sqrt(2000)
    assert found.difference == pytest.approx((second - first).mean())
    assert (found.low, found.high) == pytest.approx(
        (found.difference - 1.96 * error, found.difference + 1.96 * error), abs=0.1 * error
    )
    assert found.p_value == pytest.approx(0.039, abs=0.015)  # z = 2.06


def test_a_model_does_not_differ_from_itself():
    values = np.random.default_rng(0).random(50)
    found = compare_paired(values, values, generator=np.random.default_rng(0))
    assert found == (0, 0, 0, 1, 50)


def test_the_same_generator_gives_the_same_comparison():
    rng = np.random.default_rng(0)
    first, second = rng.random(40), rng.random(40)
    one, other = (compare_paired(first, second, generator=np.random.default_rng(7)) for _ in range(2))
    assert one == other


def test_holm_multiplies_by_the_number_of_hypotheses_that_are_left():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("first", "second"), [([1, 2], [1, 2, 3]), ([1], [2]), ([1, np.nan], [1, 2]), ([], []), ([[1, 2]], [[1, 2]])]
)
def test_values_that_are_not_pairs_are_refused(first, second):
    with pytest.raises(InputError, match="values"):
        compare_paired(first, second, generator=np.random.default_rng(0))


def test_all_models_are_compared_with_the_first_and_corrected_together():
    rng = np.random.default_rng(0)
    base = rng.normal(size=60)
    values = {"a": base, "b": base + rng.normal(0.4, 0.2, size=60), "c": base + rng.normal(0, 1, size=60)}
    compared = compare_with_first(values, seed=1)
    alone = {name: compare_paired(base, values[name], generator=np.random.default_rng(1)) for name in "bc"}
    assert compared["a"] is None and list(compared) == ["a", "b", "c"]
    assert [compared[name].p_value for name in "bc"] == holm([alone[name].p_value for name in "bc"]).tolist()
    assert compared["b"].low == alone["b"].low and compare_with_first({"a": base}) == {"a": None}
