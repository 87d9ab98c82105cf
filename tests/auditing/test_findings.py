"""Every kind of finding: planted faults are found, chance is not, and the expected values are those of chance."""

import numpy as np
import polars as pl
import pytest
from tests.auditing.conftest import NUM_ITEMS, NUM_USERS, SPLITS, rows_of

from medley.auditing import audit, quick_flags
from medley.auditing.concentration import num_for_half, share_of_top
from medley.auditing.drift import drift_findings, moments
from medley.auditing.features import feature_findings
from medley.auditing.lists import list_findings
from medley.auditing.order import auc_of_order, order_findings, share_above
from medley.auditing.pairs import Pairs
from medley.auditing.splits import split_findings
from medley.auditing.users import user_findings
from medley.data.dataset import Dataset
from medley.data.writer import DatasetWriter
from medley.evaluation.evaluator import Evaluator
from medley.models import build


def by_name(findings):
    return {finding.name: finding for finding in findings}


@pytest.fixture
def clean(make, tastes):
    return make(rows_of(tastes), name="clean")


def random_pairs(rng, *, num_users=40, num_items=25):
    """Users with 1 to 6 train items and 1 to 4 held-out items, drawn without regard to the order of items."""
    columns = [[], [], [], []]
    for user in range(num_users):
        n, m = 1 + user % 6, 1 + user % 4
        items = rng.permutation(num_items)[: n + m]
        for place, part in ((0, items[:n]), (2, items[n:])):
            columns[place] += [user] * len(part)
            columns[place + 1] += part.tolist()
    return Pairs(*(np.array(column, dtype=np.int64) for column in columns), num_users=num_users, num_items=num_items)


def test_expected_values_and_errors_of_the_order_are_those_of_chance():
    rng = np.random.default_rng(0)
    drawn = [random_pairs(rng) for _ in range(3_000)]
    shares, aucs = [share_above(pairs) for pairs in drawn], [auc_of_order(pairs) for pairs in drawn]
    _, expected, error = shares[0]
    assert np.mean([share for share, _, _ in shares]) == pytest.approx(expected, abs=4 * error / np.sqrt(3_000))
    assert np.std([share for share, _, _ in shares]) == pytest.approx(error, rel=0.06)
    assert np.mean([auc for auc, _ in aucs]) == pytest.approx(0.5, abs=4 * aucs[0][1] / np.sqrt(3_000))
    assert np.std([auc for auc, _ in aucs]) == pytest.approx(aucs[0][1], rel=0.06)


def test_expected_value_of_the_drift_is_that_of_chance():
    rng = np.random.default_rng(0)
    drawn = [moments(random_pairs(rng)) for _ in range(2_000)]
    dispersions = [float(((held - mean) ** 2).sum() / variance.sum()) for held, mean, variance, _ in drawn]
    errors = [np.sqrt((2 * variance**2 + fourth).sum()) / variance.sum() for _, _, variance, fourth in drawn]
    assert np.mean(dispersions) == pytest.approx(1, abs=4 * np.std(dispersions) / np.sqrt(2_000))
    assert np.std(dispersions) == pytest.approx(np.mean(errors), rel=0.15)


def test_data_without_faults_have_no_flags(clean):
    found = audit(clean)
    assert found.flags == [] and quick_flags(clean) == []
    assert {"row-order", "popularity-drift", "few-users", "list-popularity-by-row"} <= by_name(found.findings).keys()


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_in_order_of_time_are_caught_in_both_directions(make, tastes, sign):
    data = make(rows_of(tastes, key=lambda item: sign * item))
    finding = by_name(order_findings(data))["row-order"]
    assert finding.is_flag and finding.expected == pytest.approx(1 / 8)
    assert finding.figure == (1 if sign > 0 else 0) and finding.details["auc"] == finding.figure
    assert ("row-order" in quick_flags(data)) and ("list-later-rows" in audit(data).flags) == (sign > 0)


def test_an_order_of_the_raw_ids_is_caught_where_rows_have_another_order(make, tastes):
    # One id with leading zeros, so rows follow the text of the ids: 0, 007, 1, 10, 100, ...
    rows = [(u, "007" if i == 7 else str(i), s) for u, i, s in rows_of(tastes, key=lambda item: item)]
    found = by_name(order_findings(make(rows)))
    assert found["id-order"].is_flag and found["id-order"].figure == 1
    assert found["row-order"].figure < 0.5 and found["row-order"].details["rows_follow_numeric_ids"] == "false"


def test_a_small_but_certain_deviation_is_not_a_flag(make, tastes):
    rng = np.random.default_rng(1)
    key = {user: rng.random() < 0.06 for user in range(NUM_USERS)}
    rows = [
        row
        for user, items in enumerate(tastes)
        for row in [(user, i, s) for _, i, s in rows_of([items], key=(lambda item: item) if key[user] else None)]
    ]
    finding = by_name(order_findings(make(rows)))["row-order"]
    assert finding.figure > finding.expected and not finding.is_flag


def test_held_out_items_that_train_does_not_predict_are_a_drift(make, tastes):
    late = set(range(0, NUM_ITEMS, 6))
    finding = by_name(drift_findings(make(rows_of(tastes, key=lambda item: item in late))))["popularity-drift"]
    assert finding.is_flag and finding.figure > 5 and finding.details["change"] > 0.5


def test_a_few_users_who_hold_the_log_and_are_not_judged_are_caught(make, tastes):
    light = rows_of([items[:4] for items in tastes], splits=["train", "train", "valid", "test"])
    heavy = [(NUM_USERS + n, item, "train") for n in range(6) for item in range(NUM_ITEMS)]
    found = by_name(audit(make(light + heavy)).findings)
    assert found["few-users"].is_flag and found["judged-users"].is_flag
    assert found["judged-users"].figure == 0
    assert found["judged-users"].details["share_of_train_of_never_judged"] == pytest.approx(1800 / 3000)


def test_a_few_items_that_are_most_of_what_is_held_out_are_caught(make, tastes):
    rows = rows_of([items[:8] for items in tastes], splits=["train"] * 8)
    seen = {(u, i) for u, i, _ in rows}
    rows += [
        (u, i, split)
        for u in range(NUM_USERS)
        for i, split in ((u % 3, "test"), (3 + u % 3, "valid"))
        if (u, i) not in seen
    ]
    finding = by_name(audit(make(rows)).findings)["few-items"]
    assert finding.is_flag and finding.figure == 1 and finding.details["items_for_half"] <= 3


def test_judged_users_without_history_are_counted(make, tastes):
    rows = [row for row in rows_of(tastes) if row[0] >= 60 or row[2] != "train"]
    finding = by_name(user_findings(make(rows)))["users-without-history"]
    assert finding.is_flag and finding.figure == pytest.approx(60 / NUM_USERS)


def test_pairs_that_the_import_found_in_two_splits_are_reported(make, tastes):
    rows = rows_of(tastes)
    again = [(u, i, "test") for u, i, s in rows if s == "train"][:200]
    finding = by_name(split_findings(make(rows + again)))["repeated-pairs"]
    assert finding.is_flag and finding.figure == 200


def test_a_split_against_time_learns_from_the_future(make, tastes):
    rng = np.random.default_rng(2)
    times = [(*row, time) for row, time in zip(rows_of(tastes), rng.permutation(10 * NUM_USERS).tolist(), strict=True)]
    finding = by_name(split_findings(make(times)))["learns-from-the-future"]
    assert finding.is_flag and finding.figure == pytest.approx(7 / 8, abs=0.05)
    assert finding.details["by_chance"] == pytest.approx(7 / 8)
    in_order = [(*row, place) for place, row in enumerate(rows_of(tastes))]
    finding = by_name(split_findings(make(in_order, name="in-order")))["learns-from-the-future"]
    assert not finding.is_flag and finding.figure == 0


def test_faults_of_features_are_found_and_good_features_pass(make, tastes):
    rng = np.random.default_rng(0)
    good = rng.standard_normal((NUM_ITEMS, 16)).astype("f4")
    constant, twice, near, cone = good.copy(), good.copy(), good.copy(), good + 5
    constant[:, :3] = 1.5
    twice[:20] = twice[20]
    near[:20] = near[20:40] + 1e-4
    features = {"good": good, "constant": constant, "twice": twice, "near": near, "cone": cone}
    items = pl.DataFrame({"item": np.arange(NUM_ITEMS)})
    found = by_name(feature_findings(make(rows_of(tastes), items=items, features=features)))
    flagged = {name for name, finding in found.items() if finding.is_flag}
    assert flagged == {"constant-constant", "twice-duplicates", "near-near-duplicates", "cone-narrow-cone"}
    assert found["constant-constant"].details["columns"] == 3
    assert found["twice-duplicates"].details == {"items": 21, "largest_group": 21}
    assert found["near-near-duplicates"].figure == pytest.approx(40 / NUM_ITEMS)
    assert found["good-narrow-cone"].figure == pytest.approx(0, abs=5 * found["good-narrow-cone"].error)


def test_the_list_of_popular_items_is_the_popularity_model_under_the_same_protocol(clean):
    model = build("popularity", clean.inputs(), seed=0)
    expected = Evaluator(clean, split="test", at=(20,), metrics=("recall",))(model.scorer()).metrics["recall@20"]
    assert by_name(list_findings(clean))["list-popularity"].figure == pytest.approx(expected, rel=1e-6)


def test_recent_popularity_finds_a_trend_by_times_and_by_places(make):
    rng = np.random.default_rng(5)
    for name, start in (("times", rng.integers(0, 1000, NUM_USERS)), ("places", np.zeros(NUM_USERS, int))):
        rows = []
        for user in range(NUM_USERS):
            for place, split in enumerate(SPLITS):
                now = (start[user] + 100 * place) if name == "times" else place
                first = 12 * (now // 100 if name == "times" else place)
                rows.append((user, int(first + rng.integers(60)), split, int(now)))
        distinct = list({(u, i): (u, i, s, t) for u, i, s, t in reversed(rows)}.values())
        finding = by_name(list_findings(make(distinct, name=name)))["list-recent-popularity"]
        assert finding.details["age_in_places"] == str(name == "places").lower()
        assert finding.is_flag and finding.details["half_life_share_of_span"] < 1


@pytest.mark.parametrize(
    ("count", "half", "top"), [([5, 1, 1, 1, 1, 1], 1, 0.5), ([1, 1, 1, 1], 2, 0.25), ([0, 3], 1, 1)]
)
def test_concentration_is_counted_by_hand(count, half, top):
    assert num_for_half(np.array(count)) == half
    assert share_of_top(np.array(count), 1) == top


@pytest.mark.parametrize("splits", [("train",), ("train", "test"), ("valid", "test")])
def test_data_sets_that_lack_a_split_get_the_findings_that_need_none(tmp_path, tastes, splits):
    rows = [(u, i, s) for u, i, s in rows_of(tastes) if s in splits]
    with DatasetWriter(tmp_path / "data", name="few splits") as writer:
        users, items = (pl.Series(range(n)).cast(pl.String) for n in (NUM_USERS, NUM_ITEMS))
        log = pl.DataFrame(rows, schema=["user", "item", "split"], orient="row")
        writer.write_tables(users.to_frame("user_id"), items.to_frame("item_id"), log)
        writer.finish(provenance={})
    found = audit(Dataset(tmp_path / "data"))
    lists = {finding.name for finding in found.findings if finding.name.startswith("list-")}
    assert found.flags == [] and quick_flags(Dataset(tmp_path / "data")) == []
    assert ("row-order" in by_name(found.findings)) == ("train" in splits and "test" in splits)
    assert lists == ({"list-popularity", "list-later-rows"} if splits == ("train", "test") else set())
