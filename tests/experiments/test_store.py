"""The address of a run: the data that its model reads, its recipe, and the code that can change it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from medley import api, models
from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyWarning
from medley.experiments import code
from medley.experiments.capacity import dim_of_size
from medley.experiments.splits import resplit
from medley.experiments.store import Protocol, Store, address_of, complete, find, parts_read
from medley.models import MODELS
from medley.runs import Recipe


@pytest.fixture
def copied(simulated: Dataset, tmp_path: Path) -> Dataset:
    shutil.copytree(simulated.folder, tmp_path / "copied")
    return Dataset(tmp_path / "copied")


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_that_a_model_reads_are_those_of_its_run_record(name: str, simulated: Dataset):
    small = {"dim": 8} if "dim" in models.describe(name)["options"] else {}
    recipe = Recipe.of({"model": name, "num_epochs": 0, **small})
    run = api.train(recipe, simulated, progress=False)
    assert parts_read(recipe, simulated) == list(run.record.data.parts)


def test_only_what_a_model_reads_changes_its_address(copied: Dataset):
    recipes = {
        "mf": Recipe.of({"model": "mf"}),
        "without content": Recipe.of({"model": "lightgcn"}),
        "with content": Recipe.of({"model": "lightgcn", "use_content": True}),
        "of another modality": Recipe.of({"model": "vbpr", "modalities": ["acoustic"]}),
        "of all": Recipe.of({"model": "vbpr"}),
    }
    before = {name: address_of(recipe, copied) for name, recipe in recipes.items()}
    assert len(set(before.values())) == len(before)
    changed = copied.with_modality("visual", np.ones((90, 3)), replace=True)
    after = {name: address_of(recipe, changed) for name, recipe in recipes.items()}
    assert {name for name in before if before[name] != after[name]} == {"with content", "of all"}
    again = resplit(changed, "random", copied.folder.parent / "splits", seed=5)
    assert all(address_of(recipe, again) != before[name] for name, recipe in recipes.items())


def test_recipe_and_seed_change_the_address_and_the_device_does_not(simulated: Dataset):
    recipe = Recipe.of({"model": "mf"})
    addresses = [address_of(recipe.changed(c), simulated) for c in ({}, {"seed": 1}, {"lr": 0.1}, {"device": "cpu"})]
    assert len(set(addresses[:3])) == 3 and addresses[3] == addresses[0]


def test_the_code_of_a_model_is_its_own_file_and_what_all_share(tmp_path: Path, monkeypatch):
    package = tmp_path / "medley"
    shutil.copytree(code.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", package)
    find_spec = code.importlib.util.find_spec

    def moved(name: str):
        spec = find_spec(name)
        spec.origin = spec.origin.replace(str(Path(models.__file__).parents[1]), str(package))
        return spec

    monkeypatch.setattr(code.importlib.util, "find_spec", moved)

    def hashes() -> tuple[str, str, str]:
        return (
            code.code_of_runs.__wrapped__("mmgcn"),
            code.code_of_runs.__wrapped__("mf"),
            code.code_of_evaluations.__wrapped__(),
        )

    def changed(name: str) -> tuple[bool, ...]:
        before = hashes()
        with (package / name).open("a") as file:
            file.write("# changed\n")
        return tuple(a != b for a, b in zip(before, hashes(), strict=True))

    assert changed("models/mmgcn.py") == (True, False, False)
    assert changed("models/ludp.py") == (False, False, False)
    assert changed("models/base.py") == changed("nn/losses.py") == changed("training/fit.py") == (True, True, False)
    assert changed("scoring/blocks.py") == changed("evaluation/metrics.py") == (True, True, True)
    assert changed("evaluation/beyond.py") == (False, False, True)
    assert changed("evaluation/statistics.py") == changed("training/progress.py") == (False, False, False)
    assert changed("cli/train.py") == changed("report/terminal.py") == (False, False, False)


def test_a_strangers_model_has_the_address_of_its_file(simulated: Dataset, tmp_path: Path, monkeypatch):
    text = "from medley.models.mf import MF\n\n\nclass Mine(MF):\n    pass\n"
    (tmp_path / "stranger.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = code.code_of_runs.__wrapped__("stranger:Mine")
    (tmp_path / "stranger.py").write_text(text + "# changed\n")
    assert code.code_of_runs.__wrapped__("stranger:Mine") != before


def test_an_evaluation_under_another_protocol_needs_no_training(simulated: Dataset, tmp_path: Path):
    store, recipe = Store(tmp_path), Recipe.of({"model": "mf", "dim": 8, "num_epochs": 2})
    first = store.task("MF", recipe, simulated, (Protocol((5,)),))
    assert find(first) is None and complete(first) is True
    second = store.task("MF", recipe, simulated, (Protocol((5,)), Protocol((3,), "sampled-20")))
    assert find(second) is None and complete(second) is False
    found = find(second)
    run = api.evaluate(api.Run(second.folder), simulated, at=3, candidates="sampled-20", groups=True)
    assert found.evaluations[1].metrics["recall@3"] == run.metrics["recall@3"]
    assert found.evaluations[1].candidates == "sampled-20" and complete(second) is False


def test_a_run_whose_weights_are_gone_is_trained_anew_when_it_must_be_evaluated(simulated: Dataset, tmp_path: Path):
    store, recipe = Store(tmp_path), Recipe.of({"model": "mf", "dim": 8, "num_epochs": 2})
    first = store.task("MF", recipe, simulated, (Protocol((5,)),))
    complete(first)
    before = find(first).evaluations[0].metrics
    (first.folder / "weights.safetensors").unlink()
    assert find(first) is not None and complete(first) is False  # all is there that the study shows
    second = store.task("MF", recipe, simulated, (Protocol((5,)), Protocol((3,))))
    with pytest.warns(MedleyWarning, match="without its weights file"):
        assert complete(second) is True
    assert find(second).evaluations[0].metrics == before
    assert (second.folder / "weights.safetensors").exists()


@pytest.mark.parametrize("name", ["mf", "mmgcn", "egogcn", "huign"])
def test_the_dimension_of_equal_capacity_is_the_best_one(name: str, simulated: Dataset):
    def count(dim: int) -> int:
        built = models.build(name, simulated.inputs(), dim=dim)
        return sum(parameter.numel() for parameter in built.parameters())

    wanted = count(37) + 20
    recipe = Recipe.of({"model": name, "dim": 16})
    dim, num = dim_of_size(recipe, simulated, wanted)
    assert num == count(dim) and abs(num - wanted) <= 0.05 * wanted
    assert abs(num - wanted) == min(abs(count(each) - wanted) for each in range(1, 80))


def test_a_number_of_parameters_that_no_dimension_has_is_refused(simulated: Dataset):
    with pytest.raises(
        InputError, match=r"parameters of mf: expected 225 within 5%, got 300 with dim=2|150 with dim=1"
    ):
        dim_of_size(Recipe.of({"model": "mf"}), simulated, 225)
    with pytest.raises(InputError, match="an option dim, got none"):
        dim_of_size(Recipe.of({"model": "popularity"}), simulated, 225)


def test_another_split_has_the_same_pairs_and_features_in_order_of_time(simulated: Dataset, tmp_path: Path):
    by_time = resplit(simulated, "time", tmp_path)
    assert by_time.manifest.num_interactions == simulated.manifest.num_interactions
    assert by_time.log.drop("split").equals(simulated.log.drop("split"))
    last = {
        split: by_time.log.filter(by_time.log["split"] == split)["timestamp"] for split in ("train", "valid", "test")
    }
    assert last["train"].max() <= last["valid"].min() and last["valid"].max() <= last["test"].min()
    for m, features in simulated.features.items():
        assert np.array_equal(by_time.features[m].values, features.values)
        assert by_time.manifest.parts[f"features/{m}"] == simulated.manifest.parts[f"features/{m}"]
    assert by_time.users.raw.equals(simulated.users.raw)
    assert resplit(simulated, "time", tmp_path).folder == by_time.folder
    assert resplit(simulated, "given", tmp_path) is simulated
    cold = resplit(simulated, "cold-item", tmp_path)
    assert not set(cold.test.item) & set(cold.train.item)
