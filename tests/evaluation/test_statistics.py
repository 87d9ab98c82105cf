"""Statistics against enumeration, scipy, slow loops, textbook numbers and normal theory."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medley.errors import InputError
from medley.evaluation.paired import mean_interval, permutation_p, t_p, wilcoxon_p
from medley.evaluation.statistics import (
    TESTS,
    benjamini_hochberg,
    compare_paired,
    compare_with_first,
    effect_size,
    holm,
    mark_best,
    minimal_detectable_difference,
    spread,
    with_values,
)


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
    assert found == (0, 0, 0, 1, 50, 1, 1, 1, 0, 0, 0, 0)


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


@pytest.mark.parametrize("num_values", [5, 200], ids=["few values", "as many values as users"])
def test_an_interval_is_that_of_a_plain_bootstrap(num_values):
    rng = np.random.default_rng(3)
    array = rng.random(num_values)[rng.permutation(np.arange(200) % num_values)] ** 3
    one = mean_interval(array, generator=np.random.default_rng(9))
    resampled = [array[rng.integers(0, 200, 200)].mean() for _ in range(9_999)]
    assert one.mean == pytest.approx(array.mean())
    np.testing.assert_allclose([one.low, one.high], np.percentile(resampled, [2.5, 97.5]), atol=0.003)
    assert mean_interval([0.5] * 99, generator=rng) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_few_distinct_differences_are_flipped_as_single_ones_are(shift):
    rng = np.random.default_rng(4)
    share = [0.15 - shift, 0.1, 0.5, 0.1, 0.15 + shift]
    difference = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], p=share, size=2_000)
    flips = rng.choice([-1.0, 1.0], size=(9_999, 2_000))
    extreme = np.abs(flips @ difference) >= abs(difference.sum()) - 1e-9
    slow = (1 + extreme.sum()) / 10_000
    assert permutation_p(difference, generator=rng) == pytest.approx(slow, abs=0.02)
    assert permutation_p(np.zeros(99), generator=rng) == 1


P_VALUES = st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.04, 0.2, 1.0]), min_size=1, max_size=8)


@given(P_VALUES)
def test_benjamini_hochberg_is_the_smallest_scaled_p_value_of_those_that_are_no_smaller(p):
    slow = [min(min(1, len(p) * q / sum(r <= q for r in p)) for q in p if q >= one) for one in p]
    assert benjamini_hochberg(p).tolist() == pytest.approx(slow)
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()


def test_a_p_value_above_one_is_refused_by_the_correction():
    with pytest.raises(InputError, match=r"p-values: expected 0 to 1, got 0.5 to 1.5"):
        benjamini_hochberg([0.5, 1.5])


def test_the_tests_of_a_comparison_are_those_of_scipy():
    rng = np.random.default_rng(0)
    first = rng.normal(size=80)
    second = first + rng.normal(0.2, 1, size=80)
    second[:10] = first[:10]  # users for whom nothing changes
    found = compare_paired(first, second, generator=rng)
    assert found.t_p == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(second, first).pvalue)
    assert found.p_value == found.permutation_p == pytest.approx(found.t_p, abs=0.02)


def test_wilcoxon_of_few_users_is_the_share_of_flips_with_as_extreme_a_sum_of_ranks():
    difference = np.array([0.3, 0.1, -0.05, 0.2, 0.4, 0.0])
    ranks = [4, 2, 1, 3, 5]  # of the absolute differences without the zero
    flips = list(itertools.product([-1, 1], repeat=5))
    totals = [abs(sum(rank * sign for rank, sign in zip(ranks, flip, strict=True))) for flip in flips]
    assert wilcoxon_p(difference) == pytest.approx(np.mean([total >= 4 + 2 - 1 + 3 + 5 for total in totals]))


def test_rounding_is_not_a_difference():
    noise = np.array([1e-17, -2e-17, 3e-17, 1e-17])
    assert (t_p(noise), wilcoxon_p(noise), effect_size(noise)) == (1, 1, (0, 0, 0))


def test_the_same_gain_for_everybody_is_certain_and_of_infinite_size():
    gain = np.full(30, 0.1)
    assert t_p(gain) == 0 and effect_size(gain) == (np.inf, 1, 0) and effect_size(-gain) == (-np.inf, 0, 1)
    assert minimal_detectable_difference(gain) == pytest.approx(0, abs=1e-12)


def test_the_effect_size_is_the_mean_in_standard_deviations_with_the_users_on_each_side():
    values = [0.5, -0.25, 0.0, 0.75]
    mean = sum(values) / 4
    std = (sum((value - mean) ** 2 for value in values) / 3) ** 0.5
    assert effect_size(values) == pytest.approx((mean / std, 0.5, 0.25))


@pytest.mark.parametrize(("num_users", "alpha", "power"), [(6, 0.05, 0.8), (40, 0.01, 0.9), (3000, 0.05, 0.5)])
def test_the_minimal_detectable_difference_has_the_power_that_scipy_computes(num_users, alpha, power):
    values = np.random.default_rng(0).normal(3, 2, size=num_users)
    found = minimal_detectable_difference(values, alpha=alpha, power=power)
    shift = found * np.sqrt(num_users) / values.std(ddof=1)
    critical, noncentral = stats.t.isf(alpha / 2, num_users - 1), stats.nct(num_users - 1, shift)
    assert noncentral.sf(critical) + noncentral.cdf(-critical) == pytest.approx(power, abs=1e-6)


def test_the_minimal_detectable_difference_is_found_in_four_of_five_simulated_experiments():
    rng = np.random.default_rng(0)
    sample = rng.normal(size=25)
    sample = (sample - sample.mean()) / sample.std(ddof=1)
    worlds = rng.normal(minimal_detectable_difference(sample), 1, size=(20_000, 25))
    assert (stats.ttest_1samp(worlds, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_two_users_have_a_minimal_detectable_difference_too():
    assert minimal_detectable_difference([0.0, 1.0]) > 5 * minimal_detectable_difference([0.0, 1.0] * 5) > 0


@pytest.mark.parametrize("options", [{"alpha": 0}, {"power": 1}, {"alpha": 0.5, "power": 0.4}])
def test_a_test_without_level_or_power_is_refused(options):
    with pytest.raises(InputError, match="expected 0 < alpha < power < 1"):
        minimal_detectable_difference([0.1, 0.2], **options)


@pytest.mark.parametrize("function", [effect_size, minimal_detectable_difference, t_p, wilcoxon_p])
def test_one_user_is_not_a_comparison(function):
    with pytest.raises(InputError, match="expected two or more users, got one"):
        function([0.5])


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(("correction", "adjust"), [("holm", holm), ("bh", benjamini_hochberg)])
def test_the_chosen_test_is_adjusted_by_the_chosen_correction_and_the_others_are_left_alone(test, correction, adjust):
    rng = np.random.default_rng(0)
    base = rng.normal(size=40)
    values = {"a": base, **{name: base + rng.normal(0.3, 1, size=40) for name in "bcd"}}
    compared = compare_with_first(values, test=test, correction=correction)
    alone = {name: compare_paired(base, values[name], generator=np.random.default_rng(0)) for name in "bcd"}
    raw = [getattr(alone[name], f"{test}_p") for name in "bcd"]
    assert [compared[name].p_value for name in "bcd"] == adjust(raw).tolist()
    for name in "bcd":
        assert compared[name][5:-1] == alone[name][5:-1]
        least = minimal_detectable_difference(values[name] - base, alpha=0.05 / 3)
        assert compared[name].detectable == least > alone[name].detectable


@pytest.mark.parametrize("options", [{"correction": "bonferroni"}, {"test": "z"}])
def test_unknown_tests_and_corrections_are_refused(options):
    for function in (compare_with_first, mark_best):
        with pytest.raises(InputError, match=r"expected (holm or bh|permutation or t or wilcoxon), got '(bonf|z)"):
            function({"a": [0.1, 0.2], "b": [0.1, 0.3]}, **options)


def models(*gains, num_users=200):
    """Values of models `a`, `b`, ... with these mean gains over a common base."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=num_users)
    return {name: base + rng.normal(gain, 0.5, size=num_users) for name, gain in zip("abcdef", gains, strict=False)}


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("gains", "marks"),
    [
        ((0, 1, 0.5), {"a": None, "b": "best", "c": "second"}),
        ((0, 1, 1), {"a": None, "b": None, "c": None}),  # two leaders: neither is best, none is second
        ((0, 1, 0), {"a": None, "b": "best", "c": None}),
        ((0, 1), {"a": None, "b": "best"}),
        ((1,), {"a": None}),
    ],
)
def test_the_best_and_the_second_are_marked_only_where_they_stand_apart(gains, marks, test):
    values = models(*gains)
    assert mark_best(values, test=test) == marks
    assert mark_best({name: -array for name, array in values.items()}, higher=False, test=test) == marks


def test_a_mark_survives_the_correction_for_all_pairs_of_models():
    values = models(0.5, *[0] * 5, num_users=60)
    leader = values["a"]
    p = max(t_p(leader - other) for name, other in values.items() if name != "a")
    assert mark_best(values, alpha=p * 1.01)["a"] is None  # enough for the pair alone, not among 15 pairs
    assert mark_best(values, alpha=min(p * 15.01, 0.99))["a"] == "best"


def test_models_that_are_all_alike_get_a_mark_in_no_more_than_one_of_twenty_tables():
    rng = np.random.default_rng(0)
    tables = [{name: rng.normal(size=30) for name in "abcde"} for _ in range(300)]
    assert np.mean([any(mark_best(table).values()) for table in tables]) < 0.05


def test_users_without_a_value_of_some_model_are_left_out_for_all():
    values = {"a": [0.1, np.nan, 0.3, 0.4], "b": [0.5, 0.6, np.nan, 0.8]}
    assert {name: array.tolist() for name, array in with_values(values).items()} == {"a": [0.1, 0.4], "b": [0.5, 0.8]}
    with pytest.raises(InputError, match=r"expected the same users, got \(2,\) of a, \(1,\) of b"):
        with_values({"a": [1, 2], "b": [1]})
