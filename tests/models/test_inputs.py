"""Options about features, which `models.build` gives to every model that reads features."""

import json
import shutil

import numpy as np
import pytest

from medley import api, models
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.models import MODELS
from medley.models.inputs import CONTROLS, choose, drop, level, randomise, shuffle
from medley.runs import Recipe, Run
from medley.runs.settings import TrainSettings
from medley.testing import scores_of
from medley.training.fit import fit

READERS = [name for name, model in MODELS.items() if model.reads_features]
OTHERS = [name for name in MODELS if name not in READERS]
READING = {  # by default these read no features
    "lightgcn": {"use_content": True},
    "macridvae": {"use_content": True},
    "sasrec": {"use_content": True},
    "gru4rec": {"use_content": True},
    "itemknn": {"similarity": "content"},
}


def small(name, inputs, seed=0, **options):
    if "dim" in models.describe(name)["options"]:
        options["dim"] = 8
    return models.build(name, inputs, seed=seed, **READING.get(name, {}), **options)


def same_scores(model, other):
    return np.array_equal(scores_of(model), scores_of(other))


@pytest.mark.parametrize("name", READERS)
def test_a_subset_of_modalities_gives_the_model_of_a_data_set_without_the_others(name, checkerboard):
    features = checkerboard.features
    alone = checkerboard._replace(features={m: features[m] for m in ("visual", "mood")})
    assert same_scores(small(name, checkerboard, modalities=["visual", "mood"]), small(name, alone))


@pytest.mark.parametrize("name", READERS)
def test_random_features_give_the_model_of_a_data_set_with_random_features(name, checkerboard):
    model = small(name, checkerboard, seed=3, random_features=True)
    assert same_scores(model, small(name, randomise(checkerboard, 3), seed=3))


@pytest.mark.parametrize("name", READERS)
def test_constant_and_shuffled_features_give_the_model_of_a_data_set_with_such_features(name, checkerboard):
    model = small(name, checkerboard, seed=3, constant_features=True)
    assert same_scores(model, small(name, level(checkerboard), seed=3))
    model = small(name, checkerboard, seed=3, shuffled_features=True)
    assert same_scores(model, small(name, shuffle(checkerboard, 3), seed=3))


def test_constant_features_are_the_mean_of_the_items_that_have_the_modality(checkerboard):
    for m, features in level(checkerboard).features.items():
        given = checkerboard.features[m]
        assert np.array_equal(features.present, given.present)
        mean = np.mean([row.astype(np.float64) for row in given.values[given.present]], axis=0)
        np.testing.assert_allclose(
            features.values[features.present], np.tile(mean, (given.present.sum(), 1)), atol=1e-6
        )
        assert not features.values[~features.present].any()


def test_shuffled_features_are_the_same_rows_in_another_order_and_depend_on_seed_and_name(checkerboard):
    shuffled = shuffle(checkerboard, 1).features
    for m, features in shuffled.items():
        given = checkerboard.features[m]
        assert np.array_equal(features.present, given.present)
        assert not np.array_equal(features.values, given.values)
        assert sorted(map(tuple, features.values)) == sorted(map(tuple, given.values))
        missing = ~given.present
        assert np.array_equal(features.values[missing], given.values[missing])
    assert np.array_equal(shuffle(choose(checkerboard, ["mood"]), 1).features["mood"].values, shuffled["mood"].values)
    assert not np.array_equal(shuffle(checkerboard, 2).features["mood"].values, shuffled["mood"].values)


def test_two_controls_at_a_time_are_refused(checkerboard):
    with pytest.raises(InputError, match="one control at a time, got random_features and shuffled_features"):
        models.build("vbpr", checkerboard, random_features=True, shuffled_features=True)


@pytest.mark.parametrize("name", READERS)
def test_dropped_modalities_give_the_model_of_a_data_set_that_lacks_them(name, checkerboard):
    model = small(name, checkerboard, seed=3, drop_modalities=0.5)
    assert same_scores(model, small(name, drop(checkerboard, 0.5, seed=3), seed=3))
    assert model.spec.options["drop_modalities"] == 0.5
    if name != "bm3":  # its features enter the loss alone
        assert not same_scores(model, small(name, checkerboard, seed=3))


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("option", [{"random_features": True}, {"drop_modalities": 0.5}, {"modalities": ["visual"]}])
def test_options_about_features_are_refused_with_options_that_read_no_features(name, option, checkerboard):
    message = f"{next(iter(option))} of {name}: got options with which it reads no features"
    with pytest.raises(InputError, match=message):
        models.build(name, checkerboard, **option)


@pytest.mark.parametrize("given", ["mood,visual", "mood, visual", ["mood", "visual"], ("visual", "mood")])
def test_modalities_are_taken_as_text_or_list_and_kept_in_the_order_of_the_data_set(given, checkerboard):
    spec = models.build("vbpr", checkerboard, modalities=given).spec
    assert spec.options["modalities"] == ["visual", "mood"]


def test_a_model_of_all_features_as_they_are_records_nothing_about_them(checkerboard):
    nothing = {"modalities": None, "drop_modalities": 0.0, "random_features": False}
    spec = models.build("vbpr", checkerboard, **nothing).spec
    assert spec.options == {"dim": 64, "reg": 0.01, "feature_scale": "l2"}


@pytest.mark.parametrize(("name", "model"), [("popularity", "mosaic"), ("cold", "freedom")])
def test_a_modality_on_disk_with_the_name_of_another_part_is_refused(name, model, simulated, tmp_path):
    """Earlier versions imported it; models that read no features and models of the other modalities still take it."""
    folder = tmp_path / "data"
    shutil.copytree(simulated.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["modalities"] = {name: manifest["modalities"].pop("visual") | {"file": "visual"}} | manifest["modalities"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    inputs = Dataset(folder).inputs()
    with pytest.raises(InputError, match=rf"name of a modality: .*, got '{name}'\. Remedy: rename the modality"):
        models.build(model, inputs)
    models.build(model, inputs, modalities=["acoustic", "textual"])
    models.build("mf", inputs)


def test_an_unknown_modality_is_refused_with_the_known_ones(checkerboard):
    with pytest.raises(InputError, match="modalities: expected visual or acoustic or mood, got 'smell'"):
        models.build("mmgcn", checkerboard, modalities="visual,smell")


@pytest.mark.parametrize("given", [[], 3, [1]])
def test_modalities_that_are_not_a_list_of_names_are_refused(given, checkerboard):
    with pytest.raises(InputError, match=r"option 'modalities.* of mmgcn"):
        models.build("mmgcn", checkerboard, modalities=given)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("option", [{"modalities": ["visual"]}, {"drop_modalities": 0.5}, {"random_features": True}])
def test_a_model_that_reads_no_features_refuses_options_about_them(name, option, checkerboard):
    with pytest.raises(InputError, match=f"a model that reads item features, got {name}, .*leave the option out"):
        models.build(name, checkerboard, **option)


def test_only_models_that_read_features_describe_options_about_them():
    about_features = {"modalities", "drop_modalities", *CONTROLS}
    for name in MODELS:
        described = about_features & models.describe(name)["options"].keys()
        assert described == (about_features if name in READERS else set())


def test_random_features_are_normal_and_leave_shapes_presence_and_the_originals(checkerboard):
    inputs = checkerboard._replace(features=dict(checkerboard.features))
    values = np.zeros((32, 500), dtype="f2")
    inputs.features["visual"] = inputs.features["visual"]._replace(values=values)
    drawn = randomise(inputs, 0).features
    for m, features in inputs.features.items():
        assert drawn[m].values.shape == features.values.shape and drawn[m].values.dtype == np.float32
        assert np.array_equal(drawn[m].present, features.present)
    assert abs(drawn["visual"].values.mean()) < 0.05 and abs(drawn["visual"].values.std() - 1) < 0.05
    assert not values.any()


def test_the_seed_and_the_name_of_a_modality_decide_what_is_drawn_and_nothing_else(checkerboard):
    def drawn(seed, m, inputs=checkerboard):
        return randomise(inputs, seed).features[m].values

    assert np.array_equal(drawn(1, "mood"), drawn(1, "mood", choose(checkerboard, ["mood"])))
    assert not np.array_equal(drawn(1, "mood"), drawn(2, "mood"))
    same_shape = checkerboard._replace(features=dict.fromkeys(["a", "b"], checkerboard.features["mood"]))
    assert not np.array_equal(drawn(1, "a", same_shape), drawn(1, "b", same_shape))


@pytest.mark.parametrize(("ratio", "num_chosen"), [(0, 0), (0.5, 16), (1, 32)])
def test_each_chosen_item_loses_one_modality_and_all_modalities_lose_as_many_items(checkerboard, ratio, num_chosen):
    before = np.stack([features.present for features in checkerboard.features.values()])
    after = drop(checkerboard, ratio, seed=0)
    present = np.stack([features.present for features in after.features.values()])
    # one item lacks a modality from the start, and may be chosen to lose the same modality
    assert num_chosen - 1 <= (before & ~present).sum() <= num_chosen
    assert (before.astype(int) - present).sum(axis=0).max(initial=0) <= 1
    lost = (before & ~present).sum(axis=1)
    assert lost.max() - lost.min() <= 2
    assert np.array_equal(before, [features.present for features in checkerboard.features.values()])


def test_the_seed_decides_which_item_loses_what(checkerboard):
    def present(seed):
        return [features.present for features in drop(checkerboard, 0.5, seed=seed).features.values()]

    assert np.array_equal(present(1), present(1))
    assert not np.array_equal(present(1), present(2))


def test_modalities_are_chosen_before_items_lose_any(checkerboard):
    model = models.build("vbpr", checkerboard, seed=1, modalities=["visual"], drop_modalities=0.5)
    alone = drop(choose(checkerboard, ["visual"]), 0.5, seed=1)
    assert (~alone.features["visual"].present).sum() == 16
    assert same_scores(model, models.build("vbpr", alone, seed=1))


def test_a_model_is_finite_where_every_item_lacks_a_modality(checkerboard):
    model = models.build("dualgnn", checkerboard, drop_modalities=1, dim=4)
    assert model().user.isfinite().all() and model().item.isfinite().all()


def test_without_features_there_is_nothing_to_drop_and_the_model_says_what_it_needs(checkerboard):
    with pytest.raises(InputError, match="expected a data set with at least one modality"):
        models.build("vbpr", checkerboard._replace(features={}), drop_modalities=0.5)


@pytest.mark.parametrize(("ratio", "expected"), [(1.5, "1 or less, got 1.5"), (-0.5, "0 or more, got -0.5")])
def test_more_than_all_items_or_fewer_than_none_cannot_be_chosen(ratio, expected, checkerboard):
    with pytest.raises(InputError, match=f"option 'drop_modalities' of dualgnn: expected {expected}"):
        models.build("dualgnn", checkerboard, drop_modalities=ratio)


def test_a_run_is_built_again_with_its_options_about_features(simulated, tmp_path):
    options = {"modalities": "textual", "drop_modalities": 0.25, "random_features": True}
    model = models.build("vbpr", simulated.inputs(), seed=5, **options)
    fit(model, simulated, TrainSettings(num_epochs=1), out=tmp_path / "run")
    again = Run(tmp_path / "run").model(simulated)
    assert again.spec == model.spec == ("vbpr", again.spec.options, 5)
    assert options | {"modalities": ["textual"]} == {key: again.spec.options[key] for key in options}
    assert same_scores(again, model)


@pytest.mark.parametrize("name", ["dualgnn", "mmgcn"])
def test_a_run_on_dropped_modalities_opens_on_the_same_dropped_features(name, simulated, tmp_path):
    """By `--set drop_modalities=0.5`, as text, then opened by another process: a copy of the data set, a new `Run`."""
    recipe = Recipe.of({"model": name, "drop_modalities": "0.5", "dim": 8, "num_epochs": 1, "seed": 3})
    run = api.train(recipe, simulated, out=tmp_path / "run", progress=False)
    trained = scores_of(run.model(simulated))
    opened = Run(tmp_path / "run")
    assert opened.record.recipe.options["drop_modalities"] == 0.5
    again = opened.model(Dataset(simulated.folder))
    assert np.array_equal(scores_of(again), trained)
    whole = models.build(name, simulated.inputs(), dim=8, seed=3)
    assert not np.array_equal(scores_of(opened.load_weights(whole)), trained)
    assert api.evaluate(opened).metrics == api.evaluate(run).metrics


def test_a_run_on_dropped_modalities_is_not_resumed_on_whole_features(simulated, tmp_path):
    recipe = Recipe.of({"model": "vbpr", "drop_modalities": 0.5, "num_epochs": 1})
    api.train(recipe, simulated, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"the run to resume: expected drop_modalities=0\.5, got drop_modalities=None"):
        api.train(recipe.changed({"drop_modalities": 0}), simulated, out=tmp_path / "run", resume=True, progress=False)


def test_a_run_is_not_resumed_with_a_model_of_another_seed(simulated, tmp_path):
    for seed in (0, 1):
        model = models.build("vbpr", simulated.inputs(), seed=seed, random_features=True)
        if seed == 0:
            fit(model, simulated, TrainSettings(num_epochs=1), out=tmp_path / "run")
    with pytest.raises(InputError, match="the run to resume: expected seed=0, got seed=1"):
        fit(model, simulated, TrainSettings(num_epochs=1), out=tmp_path / "run", resume=True)
