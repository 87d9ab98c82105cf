"""Numbers that validation chooses after the training."""

from typing import ClassVar

import pytest
import torch
from torch import nn

import medley
from medley.evaluation.evaluator import Evaluator
from medley.models import Recommender
from medley.nn.chosen import ChosenNumber
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss
from medley.types import Embeddings

VALUES = (-1.0, 0.0, 0.3, 1.0)


class Pushed(Recommender):
    """Factors, with a push of popular items whose strength the training does not know."""

    reads_features = False
    default_settings: ClassVar = {"lr": 0.01, "num_epochs": 3}

    def __init__(self, inputs, *, push: float | str = "auto"):
        super().__init__(inputs)
        self.user, self.item = xavier(self.num_users, 4), xavier(self.num_items, 4)
        self.popularity = nn.Buffer(torch.from_numpy(inputs.train.users_per_item()).float().log1p()[:, None])
        self.push = ChosenNumber(push, among=VALUES, start=0.0)

    def forward(self):
        one = torch.ones(self.num_users, 1)
        return Embeddings(torch.cat([self.user, one], 1), torch.cat([self.item, self.push() * self.popularity], 1))

    def loss(self, batch):
        return bpr_loss(Embeddings(self.user, self.item), batch)


def validation_of(model, data):
    return Evaluator(data, split="valid", at=(20,), metrics=("recall",))(model.scorer()).metrics["recall@20"]


def test_the_value_with_the_best_validation_is_kept_with_the_weights(simulated, tmp_path):
    run = medley.train(Pushed, simulated, out=tmp_path / "run", progress=False)
    chosen, best = run.record.chosen["push"], run.record.best
    assert medley.Run(tmp_path / "run").history.chosen == {"push": chosen}
    figures = {}
    for value in VALUES:
        model = run.model(simulated)
        model.push.value.fill_(value)
        figures[value] = validation_of(model, simulated)
        model.push.value.fill_(chosen)
    assert best == max(figures.values()) == figures[chosen]
    assert float(medley.Run(tmp_path / "run").model(simulated).push()) == pytest.approx(chosen)


def test_a_refit_takes_the_chosen_value(simulated, tmp_path):
    run = medley.train(Pushed, simulated, out=tmp_path / "run", progress=False)
    again = medley.refit(run, simulated, out=tmp_path / "again", progress=False)
    assert again.record.recipe.options["push"] == run.record.chosen["push"]
    assert float(again.model(simulated).push()) == pytest.approx(run.record.chosen["push"])


def test_a_given_value_is_not_chosen(simulated):
    run = medley.train(Pushed, simulated, push=0.3, progress=False)
    assert run.record.chosen == {}
    assert "push.value" not in run.model(simulated).state_dict()


def test_settings_of_the_model_hold_where_no_other_is_given(simulated):
    recipe = medley.Recipe.of({"model": Pushed, "num_epochs": 7})
    assert (recipe.settings.lr, recipe.settings.num_epochs) == (0.01, 7)
    assert recipe.settings.patience == medley.TrainSettings().patience


def test_a_recipe_file_leaves_the_model_its_own_settings(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text('{"model": "tests.training.test_chosen:Pushed", "settings": {"patience": 2}}')
    recipe = medley.Recipe.load(path)
    assert (recipe.settings.lr, recipe.settings.patience) == (0.01, 2)
