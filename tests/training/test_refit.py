"""A last training before production learns from validation (and test) too, and no split judges the result."""

import json

import numpy as np
import pytest
import torch
from tests.cli.running import printed

import medley
from medley.errors import InputError
from medley.scoring.blocks import sum_of_parts
from medley.training.fit import fit

QUICK = {"num_epochs": 4, "patience": 0, "batch_size": 512, "lr": 0.01, "progress": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = medley.preset("demo", num_users=60, num_items=80, num_interactions=900)
    return medley.simulate(tmp_path_factory.mktemp("refit") / "data", settings=settings, seed=0)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return medley.train("lightgcn", data, out=tmp_path_factory.mktemp("refit") / "run", dim=8, **QUICK)


@pytest.mark.parametrize("include_test", [False, True])
def test_a_refit_learns_from_the_other_splits_with_the_settings_and_the_epoch_of_the_run(run, data, include_test):
    again = medley.refit(run, include_test=include_test, progress=False)
    splits = "train+valid+test" if include_test else "train+valid"
    recipe = again.record.recipe
    assert recipe.differences(run.record.recipe).keys() <= {"train_on", "num_epochs", "patience"}
    assert recipe.settings.train_on == splits
    assert len(again.history.epochs) == run.record.best_epoch and again.record.best is None
    assert again.model(data).num_interactions == len(data.union(splits)) > len(data.train)
    assert again.record.refit_of and again.record.status == "finished"


def test_a_refit_equals_training_by_hand_on_the_joined_interactions(run, data):
    again = medley.refit(run, progress=False)
    record = again.record.recipe
    joined = medley.Dataset.from_frames(
        np.stack([data.union("train+valid").user, data.union("train+valid").item], axis=1),
        items={"item_id": np.arange(data.manifest.num_items)},
        users={"user_id": np.arange(data.manifest.num_users)},
        split="random",
        ratios=(1, 0, 0),
    )
    by_hand = medley.train("lightgcn", joined, **{**record.flat(), "train_on": "train"} | {"progress": False})
    ours, theirs = again.model(data).state_dict(), by_hand.model(joined).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_refit_opens_again_from_its_folder_with_the_same_scores(run, data, tmp_path):
    medley.refit(run, out=tmp_path / "again", progress=False)
    opened = medley.Run(tmp_path / "again")
    first, second = (opened.model(data)() for _ in range(2))
    assert torch.equal(first.user @ first.item.T, second.user @ second.item.T)
    assert len(medley.recommend(opened, user=data.users.raw_id(0), k=3)) == 3


def test_evaluation_on_what_a_refit_has_seen_is_refused(run):
    again = medley.refit(run, progress=False)
    with pytest.raises(InputError, match=r"split .valid.: expected a split that the run has not seen, got .*valid"):
        medley.evaluate(again, split="valid")
    assert medley.evaluate(again, split="test").metrics["recall@20"] > 0
    with pytest.raises(InputError, match="not seen"):
        medley.evaluate(medley.refit(run, include_test=True, progress=False))
    with pytest.raises(InputError, match=r"expected a split that the model has not seen"):
        medley.evaluate(again.model(again.dataset()), again.dataset(), split="valid")


@pytest.mark.parametrize("name", ["ease", "itemknn"])
def test_users_of_a_refit_are_made_of_all_that_it_has_learned_wherever_they_are_asked(name, data):
    again = medley.refit(medley.train(name, data, progress=False), progress=False)
    model = again.model(data)
    learned = data.union("train+valid")
    grown = np.unique(data.valid.user)[:3]  # their histories have grown
    with torch.no_grad():
        expected = sum_of_parts(model.scorer(), torch.from_numpy(grown).long()).numpy()
    for asked in (medley.open_service(again).bundle, medley.open_service(model, data).bundle, medley.export(again)):
        found = asked.scores.scores(asked.scores.queries(grown))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert all(len(asked.history(user)) == (learned.user == user).sum() for user in grown.tolist())


def test_a_refit_of_a_refit_and_of_an_unjudged_run_are_refused(run, data):
    with pytest.raises(InputError, match="got a refit"):
        medley.refit(medley.refit(run, progress=False))
    alone = medley.train("mf", data, train_on="train+valid", dim=4, **QUICK)
    alone.update(recipe=alone.record.recipe.changed({"train_on": "train"}))
    with pytest.raises(InputError, match="validation has judged, got a run without validation"):
        medley.refit(alone)


def test_a_model_built_from_other_interactions_is_refused(data):
    with pytest.raises(InputError, match=r"interactions of the model: expected a model built from .* \(train\+valid\)"):
        fit(medley.build("mf", data, dim=4), data, medley.TrainSettings(train_on="train+valid", num_epochs=1))


def test_a_model_without_parameters_is_refitted_too(data):
    popular = medley.train("popularity", data, progress=False)
    again = medley.refit(popular, progress=False)
    assert again.model(data).num_interactions == len(data.union("train+valid"))


def test_fingerprints_of_recipes_without_the_setting_stay(run):
    document = run.record.recipe.model_dump(
        mode="json", exclude={"settings": {"device", "train_on", "average"}, "options": {"cold", "cold_offset"}}
    )
    from medley.files import sha256_of_json

    assert run.record.recipe.fingerprint == sha256_of_json(document)
    assert run.record.recipe.refitted(3).fingerprint != run.record.recipe.fingerprint


def test_the_command_refits_a_run_and_refuses_what_it_would_ignore(run, tmp_path):
    shown = printed("train", "--refit", run.folder, "--out", tmp_path / "x", "--json")
    assert json.loads(shown)["best"] is None
    for extra in (["mf", "data"], ["--set", "lr=1"], ["--seed", 0], ["--recipe", "mmgcn/tiktok"]):
        refused = printed("train", "--refit", run.folder, "--out", tmp_path / "y", *extra, exit_code=2)
        assert "expected DATASET at most, and --out" in refused
    assert "expected --refit RUN beside it" in printed("train", "--include-test", "-o", tmp_path / "z", exit_code=2)
