"""Metrics against ir-measures and against numbers worked out by hand."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG

from medley.errors import InputError
from medley.evaluation.metrics import METRICS, metrics_at
from medley.types import Ranking

THEIRS = {"precision": P, "recall": R, "ndcg": nDCG, "map": AP, "mrr": RR, "hit_rate": Success}
KS = (1, 2, 5, 10, 30)  # the last exceeds the catalogue of the random rankings


def ranking_of(*queries):
    size = [len(ranks) for ranks in queries]
    return Ranking(np.arange(len(queries)), np.cumsum([0, *size]), np.concatenate([np.sort(list(q)) for q in queries]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(1, 20), min_size=1), min_size=1, max_size=4))
def test_every_metric_equals_ir_measures_for_every_query(queries):
    qrels = {str(x): {str(rank): 1 for rank in ranks} for x, ranks in enumerate(queries)}
    run = {str(x): {str(rank): float(-rank) for rank in range(1, 21)} for x in range(len(queries))}
    ours = metrics_at(ranking_of(*queries), METRICS, KS)
    names = {THEIRS[name] @ k: f"{name}@{k}" for name in METRICS for k in KS}
    theirs = list(ir_measures.iter_calc(list(names), qrels, run))
    assert len(theirs) == len(names) * len(queries)
    for found in theirs:
        assert ours[names[found.measure]][int(found.query_id)] == pytest.approx(found.value, abs=1e-12)


def test_metrics_of_one_user_are_those_worked_out_by_hand():
    values = metrics_at(ranking_of({2, 3, 9}), METRICS, [3])
    best = 1 + 1 / np.log2(3) + 1 / 2
    assert {name: float(value[0]) for name, value in values.items()} == pytest.approx(
        {
            "precision@3": 2 / 3,
            "recall@3": 2 / 3,
            "ndcg@3": (1 / np.log2(3) + 1 / 2) / best,
            "map@3": (1 / 2 + 2 / 3) / 3,
            "mrr@3": 1 / 2,
            "hit_rate@3": 1,
        }
    )


@pytest.mark.parametrize("name", METRICS)
def test_many_cut_offs_at_once_in_any_order_equal_one_at_a_time(name):
    ranking = ranking_of({1, 4}, {7}, {2, 3, 50})
    ks = [20, 1, 4, 4, 1000]
    together = METRICS[name](ranking, ks)
    assert together.shape == (5, 3)
    assert np.array_equal(together, [METRICS[name](ranking, k) for k in ks])


def test_a_cut_off_beyond_the_catalogue_finds_everything_and_dilutes_precision():
    values = metrics_at(ranking_of({1, 5}), ["recall", "precision"], [1000])
    assert {name: value.tolist() for name, value in values.items()} == {"recall@1000": [1], "precision@1000": [0.002]}


def test_unknown_metrics_and_impossible_cut_offs_are_refused():
    with pytest.raises(InputError, match=r"metric: expected precision or recall or .*, got 'recal'"):
        metrics_at(ranking_of({1}), ["recal"], [1])
    for k in (0, 2.5):
        with pytest.raises(InputError, match="expected a whole number of at least 1"):
            metrics_at(ranking_of({1}), ["recall"], [k])
