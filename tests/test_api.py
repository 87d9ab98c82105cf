"""The Python interface, as a caller uses it."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch

import medley
from medley.errors import InputError, MedleyWarning, TrainingError
from medley.models import Recommender
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss
from medley.serving.recommend import recommend
from medley.types import Embeddings, Inputs, Triplets

QUICK = {"num_epochs": 2, "batch_size": 256, "progress": False}


class Mine(Recommender):
    """A model from another package."""

    reads_features = False

    def __init__(self, inputs: Inputs, *, width: int = 4):
        super().__init__(inputs)
        self.user, self.item = xavier(self.num_users, width), xavier(self.num_items, width)

    def forward(self) -> Embeddings:
        return Embeddings(self.user, self.item)

    def loss(self, batch: Triplets) -> torch.Tensor:
        return bpr_loss(self(), batch)


class Constant(Recommender):
    """Lists the items by their row, whoever the user is."""

    def __init__(self, inputs: Inputs):
        super().__init__(inputs)
        self.unused = xavier(1, 1)

    def scorer(self):
        return lambda users: -torch.arange(self.num_items).float().expand(len(users), -1)


def test_training_by_name_by_recipe_and_by_steps_gives_the_same_bits(simulated, tmp_path):
    run = medley.train("lightgcn", simulated, out=tmp_path / "one", dim=8, seed=1, **QUICK)
    recipe = medley.Recipe.of({"model": "lightgcn", "dim": 8, "seed": 1, "num_epochs": 2, "batch_size": 256})
    again = medley.train(recipe, simulated, progress=False)
    model = medley.build("lightgcn", simulated, dim=8, seed=1)
    history = medley.fit(model, simulated, **QUICK)
    for other in (again.model(simulated), model, medley.Run(tmp_path / "one").model(simulated)):
        assert torch.equal(other.e0_user, run.model(simulated).e0_user)
    assert [e.loss for e in run.history.epochs] == [e.loss for e in again.history.epochs]
    assert [e.loss for e in run.history.epochs] == [e.loss for e in history.epochs]


def test_changes_come_over_a_recipe(simulated):
    recipe = medley.Recipe.of({"model": "mf", "dim": 8, "num_epochs": 5})
    run = medley.train(recipe, simulated, num_epochs=1, seed=3, progress=False)
    assert run.record.recipe == recipe.changed({"num_epochs": 1, "seed": 3}) and len(run.history.epochs) == 1


def test_a_run_without_a_folder_lives_as_long_as_it_is_held(simulated):
    run = medley.train("popularity", simulated, progress=False)
    folder = run.folder
    assert medley.evaluate(run).metrics["recall@20"] > 0 and (folder / "test.json").exists()
    del run
    assert not folder.exists()


def test_evaluation_needs_no_gradient_and_no_data_beside_a_run(simulated, tmp_path):
    run = medley.train("mf", simulated, out=tmp_path / "run", dim=8, **QUICK)
    model = run.model(simulated)
    expected = medley.evaluate(model, simulated).metrics
    assert medley.evaluate(run).metrics == expected == medley.evaluate(medley.Run(tmp_path / "run")).metrics
    with pytest.raises(InputError, match="a model without data"):
        medley.evaluate(model)


def test_a_class_of_ones_own_is_trained_recorded_and_opened_again(simulated, tmp_path):
    run = medley.train(Mine, simulated, out=tmp_path / "run", width=5, **QUICK)
    assert run.record.recipe.model.endswith(":Mine") and run.record.recipe.options == {"width": 5}
    assert medley.recommend(run, user=simulated.users.raw_id(0), k=3)
    with pytest.raises(InputError, match=r"unknown option 'dim' of .*:Mine.*are width; the settings"):
        medley.train(Mine, simulated, dim=5)


def test_comparison_is_paired_with_the_first_run_and_refuses_unlike_protocols(simulated, tmp_path):
    runs = [medley.train(name, simulated, out=tmp_path / name, **QUICK) for name in ("popularity", "mf", "lightgcn")]
    for run in runs:
        medley.evaluate(run)
    first, *others = medley.compare(runs)
    assert first.comparison is None and first.model == "popularity"
    for row in others:
        assert row.comparison.difference == pytest.approx(row.metrics["recall@20"] - first.metrics["recall@20"])
        assert row.comparison.low <= row.comparison.difference <= row.comparison.high
    assert medley.compare([tmp_path / "popularity", str(tmp_path / "mf")])[1].metrics == others[0].metrics
    with pytest.raises(InputError, match=r"expected .*recall@20.*, got 'recall@7'"):
        medley.compare(runs, metric="recall@7")
    with pytest.raises(InputError, match="at least one"):
        medley.compare([])
    for seed, run in enumerate(runs[:2]):
        medley.evaluate(run, candidates="sampled-20", seed=seed)
    with pytest.raises(InputError, match="cannot be compared"):
        medley.compare(runs[:2], candidates="sampled-20")


def test_there_is_one_seed(simulated):
    model = medley.build("mf", simulated, dim=8, seed=1)
    with pytest.raises(InputError, match="seed of fit"):
        medley.fit(model, simulated, seed=2)


def test_a_model_that_was_not_built_by_medley_is_refused(simulated):
    with pytest.raises(InputError, match=r"expected a model made by medley\.build, got Mine"):
        medley.fit(Mine(simulated.inputs()), simulated, progress=False)


def test_every_name_of_the_interface_is_there_and_a_wrong_one_is_not():
    from medley import api

    assert all(getattr(medley, name) is getattr(api, name) for name in api.__all__)
    assert set(medley.__all__) == {"__version__", "tune", *api.__all__}
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        medley.trian  # noqa: B018


def test_models_are_described(simulated):
    described = {model["name"]: model for model in medley.api.models()}
    assert described["mmgcn"]["options"]["num_layers"]["default"] == 2 and len(described) >= 28
    assert np.all([model["summary"] for model in described.values()])


def test_ids_numbers_and_lists_of_users_are_answered_and_anything_else_is_an_input_error(simulated):
    model = medley.build("mf", simulated, dim=4)
    user = simulated.users.raw_id(3)
    one = medley.recommend(model, simulated, user=user, k=2)
    assert medley.recommend(model, simulated, user=[user], k=2) == [one]
    assert medley.recommend(model, simulated, user=np.array([user]), k=2) == [one]
    assert (
        medley.evaluate(model, simulated, at=10).metrics.keys()
        == medley.evaluate(model, simulated, at=[10]).metrics.keys()
    )
    assert medley.recommend(model, simulated.folder, user=user, k=2) == one
    for wrong in (
        lambda: medley.recommend(model, simulated, user=3.5),
        lambda: medley.recommend(model, simulated, user=None),
        lambda: medley.recommend(model, {"user_id": [1]}, user=user),
        lambda: medley.recommend("lightgcn", simulated, user=user),
        lambda: medley.evaluate(model, simulated, at="ten"),
        lambda: medley.evaluate(model, simulated, at=0),
        lambda: medley.evaluate(model, simulated, at=[2.5]),
        lambda: medley.load(pl.DataFrame({"user_id": [1]})),
        lambda: medley.build("mf", pl.DataFrame({"user_id": [1]})),
        lambda: medley.train("mf", 3),
        lambda: medley.load("nowhere"),
    ):
        with pytest.raises(InputError):
            wrong()


def test_a_run_a_model_a_bundle_and_a_service_answer_alike(simulated, tmp_path):
    run = medley.train("mmgcn", simulated, dim=4, **QUICK)
    user, item = simulated.users.raw_id(5), simulated.items.raw_id(5)
    bundle = medley.export(run)
    lists, alike = medley.recommend(run, user=[user], k=5, explain=True), medley.similar(run, item=item, k=5)
    for asked in (bundle, medley.open_service(bundle), medley.open_service(run)):
        assert medley.recommend(asked, user=[user], k=5, explain=True) == lists
        assert medley.similar(asked, item=item, k=5) == alike
    assert medley.similar(run.model(simulated), simulated, item=item, by="visual", k=5) != alike
    for number, asked in enumerate((run, bundle)):
        num_rows = medley.recommend_all(asked, out=tmp_path / f"{number}.parquet", k=5, explain=True, progress=False)
        assert num_rows == 5 * simulated.manifest.num_users
    table = pl.read_parquet(tmp_path / "0.parquet")
    assert table.equals(pl.read_parquet(tmp_path / "1.parquet"))
    own = table.filter(pl.col("user_id") == user)
    assert own["item_id"].to_list() == [found.item for found in lists[0]]
    assert own["share_visual"].to_list() == pytest.approx([found.shares["visual"] for found in lists[0]], abs=1e-6)
    assert medley.recommend_all(run, users=[user, user], out=tmp_path / "two.csv", k=2, progress=False) == 4
    for wrong in (
        lambda: medley.recommend(bundle, simulated, user=user),
        lambda: medley.similar(bundle, simulated, item=item),
        lambda: medley.similar(run.model(simulated), item=item),
        lambda: medley.similar(run, item=3.5),
        lambda: medley.similar(run, item=item, k=2.5),
        lambda: medley.open_service("lightgcn"),
        lambda: medley.recommend_all(run, users=user, out=tmp_path / "wrong.csv"),
        lambda: medley.recommend_all(run, k=0, out=tmp_path / "wrong.csv"),
        lambda: medley.recommend_all(run, where="title=x", out=tmp_path / "wrong.csv"),
    ):
        with pytest.raises(InputError):
            wrong()
    assert not (tmp_path / "wrong.csv").exists()


def test_coverage_and_different_lists_are_measured_and_one_list_for_all_is_said(simulated):
    with pytest.warns(MedleyWarning, match="everybody gets the same list"):
        constant = medley.evaluate(Constant(simulated.inputs()), simulated)
    assert constant.lists["coverage@20"] < 0.7
    varied = medley.evaluate(medley.build("mf", simulated, dim=4), simulated)
    lists = {tuple(item.item for item in items) for items in _lists_of_test(simulated)}
    items = {item.item for items in _lists_of_test(simulated) for item in items}
    assert varied.lists["distinct_lists"] == len(lists)
    assert varied.lists["coverage@20"] == len(items) / simulated.manifest.num_items
    assert varied.lists["coverage@10"] < varied.lists["coverage@20"] <= 1


def _lists_of_test(data) -> list[list[medley.Recommendation]]:
    """The best 20 unseen items of all users with test interactions."""
    users = [data.users.raw_id(row) for row in np.unique(data.test.user)]
    return recommend(medley.build("mf", data, dim=4), data, users, k=20, seen=("train", "valid"))


def test_a_failed_training_is_said_when_the_run_is_used(simulated, tmp_path, monkeypatch):
    loss, batches = Mine.loss, []

    def diverging(self, batch):
        batches.append(batch)
        return loss(self, batch) * (float("nan") if len(batches) > 6 else 1.0)

    monkeypatch.setattr(Mine, "loss", diverging)
    with pytest.raises(TrainingError):
        medley.train(Mine, simulated, out=tmp_path / "run", num_epochs=9, batch_size=256, progress=False)
    run, user, item = medley.Run(tmp_path / "run"), simulated.users.raw_id(0), simulated.items.raw_id(0)
    for use in (
        lambda: medley.evaluate(run, simulated),
        lambda: medley.recommend(run, simulated, user=user),
        lambda: medley.similar(run, simulated, item=item),
    ):
        with pytest.warns(
            MedleyWarning, match=r"the training of this run failed, the weights are of epoch \d+: the loss is nan"
        ):
            use()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda model, data: medley.import_dataset("csv", pl.DataFrame({"user_id": [1]}), "out"),
        lambda model, data: medley.import_dataset(pl.DataFrame({"user_id": [1]}), "x", "out"),
        lambda model, data: medley.recommend(model, data, user=data.users.raw_id(0), k=2.5),
        lambda model, data: medley.recommend(model, data, user=data.users.raw_id(0), k="3"),
        lambda model, data: medley.recommend(model, data, user=True),
        lambda model, data: medley.recommend(model, data, user=data.users.raw_id(0), where="title=x"),
        lambda model, data: medley.recommend(model, data, user=data.users.raw_id(0), exclude=3),
        lambda model, data: medley.evaluate(model, data, split=3),
        lambda model, data: medley.evaluate(model, data, candidates=100),
        lambda model, data: medley.evaluate(model, data, at="10,20"),
        lambda model, data: medley.build(3, data),
        lambda model, data: medley.build("mf", data, seed="a"),
        lambda model, data: medley.build("mf", data, seed=-1),
        lambda model, data: medley.fit("mf", data),
        lambda model, data: medley.compare("nowhere"),
        lambda model, data: medley.about_item(model, data, item=3.5),
        lambda model, data: medley.Recipe.of("mf"),
        lambda model, data: medley.simulate("out", settings="demo", seed=0),
        lambda model, data: medley.Dataset.from_frames("x.csv"),
        lambda model, data: medley.Dataset.from_frames([(1, 2)], features=pl.DataFrame({"item_id": [1]})),
        lambda model, data: medley.Dataset(5),
    ],
)
def test_a_value_of_the_wrong_type_is_an_input_error(wrong, simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        wrong(medley.build("mf", simulated, dim=4), simulated)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("imported", ["import medley; medley.train", "pass"])
def test_what_torch_says_of_its_own_sparse_matrices_is_not_shown(imported):
    """A GPU multiplies with them; the loops of Medley do so on a CPU."""
    matrix = "torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), (1, 1))"
    code = f"{imported}; import torch; {matrix}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert ("Sparse" in said) == (imported == "pass")
