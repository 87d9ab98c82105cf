"""Users made of train and validation interactions at test."""

import numpy as np
import pandas as pd
import pytest
import torch

import medley
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.evaluation.evaluator import Evaluator
from medley.evaluation.histories import reason_against_fresh


def split_by(places: dict[str, list[int]], users: int = 4) -> Dataset:
    """A log in which every user has an interaction at these times in each split."""
    rows = [
        {"user_id": f"u{user}", "item_id": f"i-{split}-{place}", "timestamp": time, "split": split}
        for user in range(users)
        for split, times in places.items()
        for place, time in enumerate(times)
    ]
    return Dataset.from_frames(pd.DataFrame(rows))


def test_fresh_histories_are_those_of_train_and_validation(simulated: Dataset):
    model = medley.build("itemknn", simulated, recency=0.8)
    fresh = medley.evaluate(model, simulated, history="fresh")
    with torch.no_grad():
        by_hand = Evaluator(simulated)(model.scorer_of(simulated.union("train+valid")))
    assert fresh.metrics == by_hand.metrics != medley.evaluate(model, simulated).metrics
    assert fresh.history == "fresh" and by_hand.history == "train"


def test_the_protocol_says_fresh_and_without_it_is_what_it_was(simulated: Dataset):
    model = medley.build("ease", simulated)
    train, fresh = (medley.evaluate(model, simulated, history=history) for history in ("train", "fresh"))
    assert "history" not in train.protocol
    assert fresh.protocol == {**train.protocol, "history": "fresh"}
    assert train.fingerprint == medley.evaluate(model, simulated).fingerprint != fresh.fingerprint


def test_a_run_keeps_both_evaluations_and_each_kind_is_compared_with_itself(simulated: Dataset, tmp_path):
    runs = [
        medley.train(name, simulated, out=tmp_path / name, progress=False, recency="auto")
        for name in ("itemknn", "ease")
    ]
    with pytest.raises(InputError, match=r"evaluate the run first with history=fresh"):
        medley.compare(runs, history="fresh")
    for run in runs:
        train = medley.evaluate(run, groups=True)
        fresh = medley.evaluate(run, groups=True, history="fresh")
        again = medley.Run(run.folder)
        assert again.evaluation().metrics == train.metrics
        assert again.evaluation(history="fresh").metrics == fresh.metrics != train.metrics
        assert (run.folder / "test-fresh.parquet").exists()
    first, second = medley.compare(runs, history="fresh")
    assert first.metrics == medley.Run(tmp_path / "itemknn").evaluation(history="fresh").metrics
    assert second.comparison is not None


def test_a_run_keeps_the_evaluations_with_other_candidates(simulated: Dataset, tmp_path):
    runs = [medley.train(name, simulated, out=tmp_path / name, progress=False) for name in ("popularity", "ease")]
    with pytest.raises(InputError, match=r"evaluate the run first with candidates=sampled-5"):
        medley.compare(runs, candidates="sampled-5")
    with pytest.raises(InputError, match=r"candidates: expected all, cold, .*got '../other'"):
        runs[0].evaluation(candidates="../other")
    for run in runs:
        everything = medley.evaluate(run)
        sampled = medley.evaluate(run, candidates="sampled-5", at=3)
        fresh = medley.evaluate(run, candidates="sampled-5", history="fresh")
        again = medley.Run(run.folder)
        assert again.evaluation().metrics == everything.metrics
        assert again.evaluation(candidates="sampled-5").metrics == sampled.metrics
        assert again.evaluation(history="fresh", candidates="sampled-5").metrics == fresh.metrics
    assert medley.compare(runs)[1].metrics == runs[1].evaluation().metrics
    assert medley.compare(runs, candidates="sampled-5", metric="recall@3")[1].comparison is not None


def test_groups_of_users_are_the_same_with_both_histories(simulated: Dataset):
    model = medley.build("itemknn", simulated, similarity="content")
    train, fresh = (medley.evaluate(model, simulated, groups=True, history=each) for each in ("train", "fresh"))
    groups = [name for name in train.per_user if "_users_" in name]
    assert any(name.startswith("mostly_") for name in groups)
    for name in groups:
        assert np.array_equal(np.isnan(train.per_user[name]), np.isnan(fresh.per_user[name]))


def test_what_has_no_fresh_histories_is_refused(simulated: Dataset, tmp_path):
    model = medley.build("itemknn", simulated)
    for options, message in (
        ({"history": "new"}, "history: expected train or fresh, got 'new'"),
        ({"history": "fresh", "split": "valid"}, "expected test, got 'valid'"),
    ):
        with pytest.raises(InputError, match=message):
            medley.evaluate(model, simulated, **options)
    with pytest.raises(InputError, match="learned vector per user"):
        medley.evaluate(medley.build("mf", simulated), simulated, history="fresh")
    run = medley.train("itemknn", simulated, out=tmp_path / "run", progress=False)
    refitted = medley.refit(run, out=tmp_path / "refit", progress=False)
    with pytest.raises(InputError, match="the run knows these histories"):
        medley.evaluate(refitted, history="fresh")


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ({"train": [1, 2], "valid": [3], "test": [4]}, None),
        ({"train": [1, 2], "valid": [2], "test": [2]}, None),  # ties in time
        ({"train": [1, 4], "valid": [3], "test": [5]}, "4 users with an interaction that is later"),
        ({"train": [1, 2], "valid": [4], "test": [3]}, "4 users with an interaction that is later"),
    ],
)
def test_the_times_tell_whether_a_split_is_by_time(places, reason):
    found = reason_against_fresh(split_by(places))
    assert found == reason if reason is None else reason in found


def test_a_log_without_times_has_no_fresh_histories():
    rows = [(user, item, split) for user in "ab" for item, split in (("x", "train"), ("y", "valid"), ("z", "test"))]
    data = Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "split"]))
    assert reason_against_fresh(data) == "interactions without times"
    with pytest.raises(InputError, match=r"a split by time, got interactions without times.*leave-one-out"):
        medley.evaluate(medley.build("itemknn", data), data, history="fresh")
