"""Pictures of a study, by the names that its declaration lists under `figures`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medley.errors import InputError
from medley.evaluation.paired import Interval, mean_interval
from medley.evaluation.statistics import with_values
from medley.report.figures.bars import bars, cost
from medley.report.figures.lines import metric_at_k, sweep, training_curves
from medley.report.figures.ranks import critical_difference
from medley.report.rank_test import rank_test
from medley.report.study_results import Condition, StudyResult, StudyResults, means, under
from medley.report.tables import column_title

NUM_RESAMPLES = 2_000  # of a bootstrap interval
MOST_LINES = 12  # in one picture of curves: the best by the metric of the study
FEWEST_RANKED = 3


@dataclass(frozen=True)
class Shown:
    """A picture with its name, caption and description."""

    name: str  # of its files
    figure: Figure
    caption: str
    description: str  # the same in words and figures, for readers who do not see the picture


def study_figures(results: StudyResults, condition: Condition) -> list[Shown]:
    """Returns the pictures of a study under one condition; pictures for which the results do not suffice are left out.

    Raises:
        InputError: a picture of an unknown name.
    """
    rows, shown = under(results, condition), []
    for name in results.study.get("figures", ()):
        if name not in DRAWN:
            raise InputError("figures of the study", expected=" or ".join(DRAWN), got=repr(name))
        shown += DRAWN[name](results.study, rows)
    return shown


def _interval(values: np.ndarray) -> Interval:
    """Returns the mean over users and its interval; users without a value are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(*[float("nan")] * 3)
    return mean_interval(known, generator=np.random.default_rng(0), num_resamples=NUM_RESAMPLES)


def _comparison(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> list[Shown]:
    metric = study["metric"]
    values = {label: _interval(array) for label, array in means(rows, metric).items()}
    if not values:
        return []
    groups = {one.entry.label: one.entry.group for one in rows}
    drawn = bars(values, metric=column_title(metric), groups=groups if any(groups.values()) else None)
    caption = "Mean over users and seeds; black lines: 95% bootstrap interval of the mean over users"
    figures = "; ".join(f"{n} {one.mean:.4f} ({one.low:.4f} to {one.high:.4f})" for n, one in values.items())
    return [Shown("comparison", drawn, caption, f"Bars of {column_title(metric)}: {figures}")]


def _curve(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> list[Shown]:
    """One picture per option that variants change."""
    metric, by_label = study["metric"], {one.entry.label: one for one in rows}
    lines: dict[str, dict[str, dict[float | str, np.ndarray]]] = {}  # option -> line -> value -> (S,)
    for one in rows:
        if one.entry.value is None or not one.entry.options or metric not in one.per_user:
            continue
        option, system = next(iter(one.entry.options)), one.entry.variant_of or one.entry.model
        line = lines.setdefault(option, {}).setdefault(one.entry.group or system, {})
        base = by_label.get(one.entry.variant_of)
        at = _value_of_base(base, option) if base is not None else None
        if base is not None and at is not None and metric in base.per_user:
            line.setdefault(at, _seeds(base, metric))
        line[one.entry.value] = _seeds(one, metric)
    shown = []
    for option, values in lines.items():
        drawn = sweep(values, x=option, metric=column_title(metric))
        words = "; ".join(
            f"{name}: " + ", ".join(f"{seeds.mean():.4f} at {at}" for at, seeds in line.items())
            for name, line in values.items()
        )
        caption = f"{column_title(metric)} along {option}; bands: one standard deviation over the seeds"
        shown.append(Shown(f"curve-{option}", drawn, caption, f"{column_title(metric)} along {option}: {words}"))
    return shown


def _recall_at_k(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> list[Shown]:
    """One picture per system with its variants."""
    name, ks = str(study["metric"]).partition("@")[0], list(study["at"])
    systems: dict[str, dict[str, np.ndarray]] = {}
    for one in rows:
        if all(f"{name}@{k}" in one.per_user for k in ks):
            table = np.stack([_seeds(one, f"{name}@{k}") for k in ks], axis=1)  # (S, K)
            systems.setdefault(one.entry.variant_of or one.entry.label, {})[one.entry.label] = table
    if len(systems) > 1 and all(len(lines) == 1 for lines in systems.values()):  # no variants: all in one picture
        systems = {"all": {label: table for lines in systems.values() for label, table in lines.items()}}
    shown = []
    for system, lines in systems.items():
        kept = dict(sorted(lines.items(), key=lambda pair: -pair[1].mean())[:MOST_LINES])
        drawn = metric_at_k(kept, ks, metric=column_title(study["metric"]).partition("@")[0])
        last = "; ".join(f"{label} {table[:, -1].mean():.4f}" for label, table in kept.items())
        left_out = f"; the best {len(kept)} of {len(lines)}" if len(kept) < len(lines) else ""
        caption = f"{system}: bands of one standard deviation over the seeds{left_out}"
        slug = "".join(c if c.isalnum() else "-" for c in system.lower()).strip("-")
        shown.append(Shown(f"recall-at-k-{slug}", drawn, caption, f"{name} by K of {system}, at K = {ks[-1]}: {last}"))
    return shown


def _training(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> list[Shown]:
    curves = {
        one.entry.label: [np.array([np.nan if v is None else v for v in seed], dtype=np.float64) for seed in one.curves]
        for one in rows
        if any(value is not None for seed in one.curves for value in seed)
    }
    if not curves:
        return []
    tops = {label: max(np.nanmax(seed) for seed in seeds if np.isfinite(seed).any()) for label, seeds in curves.items()}
    kept = {label: curves[label] for label in sorted(tops, key=lambda label: -tops[label])[:MOST_LINES]}
    left_out = f"; the best {len(kept)} of {len(curves)}" if len(kept) < len(curves) else ""
    words = "; ".join(f"{label} {tops[label]:.4f}" for label in kept)
    drawn = training_curves(kept, metric="validation metric")
    caption = f"Validation metric by epoch, a line per seed, a mark at the best epoch{left_out}"
    return [Shown("training", drawn, caption, f"Best validation metric: {words}")]


def _cost(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> list[Shown]:
    metric = study["metric"]
    points = {
        one.entry.label: (one.cpu_to_best.mean, one.metrics[metric].mean)
        for one in rows
        if metric in one.metrics and one.cpu_to_best.mean > 0
    }
    if not points:
        return []
    drawn = cost(points, x="CPU seconds to the best epoch", metric=column_title(metric))
    free = [one.entry.label for one in rows if one.entry.label not in points]
    without = f"; not shown, as they are not trained: {', '.join(free)}" if free else ""
    caption = f"Accuracy against cost; filled: nothing cheaper is better{without}"
    words = "; ".join(f"{label} {value:.4f} for {price:.1f} s" for label, (price, value) in points.items())
    return [Shown("cost", drawn, caption, f"{column_title(metric)} and CPU seconds: {words}")]


def _ranks(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> list[Shown]:
    metric = study["metric"]
    values = means(rows, metric)
    if len(values) < FEWEST_RANKED or len({one.user.tobytes() for one in rows}) > 1:
        return []
    known = with_values(values)
    if len(next(iter(known.values()))) < 2:
        return []
    test, of = rank_test(known), rows[0].candidates
    blocks = "held-out pairs" if of.startswith("sampled") and not of.endswith("-per-user") else "users"
    words = "; ".join(f"{test.labels[place]} {test.mean_rank[place]:.2f}" for place in test.order)
    caption = (
        f"Mean ranks by {column_title(metric)} over {test.num_blocks:,} {blocks} of this data set (Friedman p = "
        f"{test.p_value:.2g}); a bar joins models whose ranks differ by less than Nemenyi's critical difference"
    )
    return [Shown("ranks", critical_difference(test), caption, f"Mean ranks, 1 is best: {words}")]


DRAWN: dict[str, Callable[[Mapping[str, Any], Sequence[StudyResult]], list[Shown]]] = {
    "comparison": _comparison,
    "curve": _curve,
    "recall_at_k": _recall_at_k,
    "training": _training,
    "cost": _cost,
    "ranks": _ranks,
}


def _seeds(one: StudyResult, metric: str) -> np.ndarray:
    """(S,) means over the users of each seed."""
    return np.nanmean(one.per_user[metric], axis=1)


def _value_of_base(base: StudyResult, option: str) -> float | str | None:
    """The value of an option in the entry that variants change; without the option nothing is dropped."""
    value = base.chosen.get(option, 0.0 if option == "drop_modalities" else None)
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None
