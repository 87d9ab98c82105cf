"""Do conclusions agree? Checked against a loop over all pairs."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from medley.evaluation.statistics import Spread
from medley.experiments.agreement import agreements
from medley.experiments.entries import Entry
from medley.experiments.results import Result, Results


def result(label: str, values: np.ndarray, candidates: str) -> Result:
    mean = Spread(float(values.mean()), float("nan"), 1)
    nothing = Spread(0.0, float("nan"), 1)
    fields = {"num_tried": 1, "valid": nothing, "cpu_to_best": nothing, "cpu_per_epoch": 0.0, "peak_gb": 0.0}
    more = {"best_epochs": (1,), "num_parameters": 1, "fingerprint": "", "measured": "", "machine": ""}
    return Result(
        entry=Entry("mf", label, {}),
        chosen={},
        metrics={"recall@20": mean},
        candidates=candidates,
        seeds=(0,),
        user=np.arange(len(values)),
        per_user={"recall@20": values[None]},
        **fields,
        **more,
    )


def test_pairs_are_counted_as_a_loop_counts_them():
    generator = np.random.default_rng(0)
    shared = generator.random(200)
    sides = {
        "all": [shared + bias + 0.1 * generator.random(200) for bias in (0.0, 0.05, 0.1, 0.1)],
        "sampled-20": [shared + bias + 0.1 * generator.random(200) for bias in (0.1, 0.05, 0.1, 0.2)],
    }
    entries = [result(f"m{i}", values, name) for name, side in sides.items() for i, values in enumerate(side)]
    (found,) = agreements(Results({}, {}, entries), "recall@20")

    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    signs = {}
    for name, side in sides.items():
        p = [stats.ttest_rel(side[a], side[b]).pvalue for a, b in pairs]
        order, largest, adjusted = np.argsort(p), 0.0, [0.0] * len(p)
        for place, at in enumerate(order):
            largest = max(largest, (len(p) - place) * p[at])
            adjusted[at] = largest
        signs[name] = [
            (np.sign((side[a] - side[b]).mean()) if q < 0.05 else 0) for (a, b), q in zip(pairs, adjusted, strict=True)
        ]
    counted = SimpleNamespace(same=0, opposite=0, first=0, second=0, neither=0)
    for one, two in zip(signs["all"], signs["sampled-20"], strict=True):
        kind = "neither" if not one and not two else "first" if not two else "second" if not one else ""
        kind = kind or ("same" if one == two else "opposite")
        setattr(counted, kind, getattr(counted, kind) + 1)
    assert found.num_opposite == counted.opposite > 0 and found.num_same == counted.same > 0
    assert (found.num_first, found.num_second, found.num_neither) == (counted.first, counted.second, counted.neither)
    means = [[values.mean() for values in side] for side in sides.values()]
    assert found.tau == pytest.approx(stats.kendalltau(*means).statistic)


def test_one_condition_has_nothing_to_agree_with():
    assert agreements(Results({}, {}, [result("m", np.ones(3), "all")]), "recall@20") == []
