"""New items: the model's own path where it has one, else neighbours."""

import numpy as np
import pytest
import torch
from tests.serving.items import own_features, without_items

import medley
from medley import models
from medley.errors import InputError
from medley.serving.bundle import Bundle
from medley.serving.export import export
from medley.serving.item_features import nearest


def of_content(data, name, scale):
    """The bundle of a model that makes new items of their features, with parameters away from 0."""
    model = models.build(name, data.inputs(), dim=8, feature_scale=scale)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    bundle = export(model, data)
    assert bundle.new_item_rule.rule == "content"
    return bundle


SCALES = ["none", "l2", "standard", "pca-whitening", "pca-whitening-5"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["duif", "cb2cf"])
def test_an_item_of_the_catalogue_gets_its_own_vector_by_the_models_content_path(name, scale, simulated):
    bundle = of_content(simulated, name, scale)
    lacking = np.flatnonzero(~np.all([f.present for f in bundle.features.values()], axis=0))
    for row in (0, 17, int(lacking[0])):
        vector = bundle.embed(own_features(bundle, row)).vector
        np.testing.assert_allclose(vector, bundle.item[row], atol=1e-4 * np.abs(bundle.item[row]).max())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[(name, {"feature_scale": scale}) for name in ("clcrec", "dropoutnet", "mosaic") for scale in SCALES],
        ("mosaic", {"graph_weight": 0.0}),
        ("mosaic", {"k": 3, "graph_weight": 2.0, "cold_offset": 0.7}),
    ],
)
def test_a_new_item_gets_the_vector_of_an_item_without_interactions(name, options, simulated, tmp_path):
    lacking = np.flatnonzero(~np.all([f.present for f in simulated.features.values()], axis=0))[:3]
    gone = {3, 20, 41, *map(int, lacking)}
    data = without_items(simulated, gone)
    model = models.build(name, data.inputs(), dim=8, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    export(model, data, tmp_path / "bundle")
    bundle = Bundle.read(tmp_path / "bundle")
    assert bundle.new_item_rule.rule == "content" and bundle.new_item_rule.offset[0]
    for row in gone:
        vector = bundle.embed(own_features(bundle, row)).vector
        np.testing.assert_allclose(vector[:-1], bundle.item[row, :-1], atol=1e-4 * np.abs(bundle.item[row]).max())
        assert vector[-1] == bundle.new_item_rule.offset[0]
        if name == "mosaic":
            length = bundle.fold_in_rule.arrays["length"][row]
            assert bundle.embed(own_features(bundle, row)).length == pytest.approx(length, rel=1e-4)


def test_a_path_that_does_not_give_the_models_vectors_is_not_used(simulated, monkeypatch):
    data = without_items(simulated, {3, 20, 41})
    model = models.build("clcrec", data.inputs(), dim=8)
    monkeypatch.setattr("medley.serving.item_paths.LEAK", 0.5)
    assert export(model, data).new_item_rule.rule == "neighbours"


def test_an_exposure_that_would_do_nothing_is_refused(simulated):
    model = models.build("duif", simulated.inputs(), dim=8)
    with pytest.raises(InputError, match="exposure: expected 1 for a model whose items all follow from features"):
        export(model, simulated, exposure=3.0)


def test_an_item_graph_alone_is_no_path(simulated):
    model = models.build("mosaic", simulated.inputs(), dim=8, use_content=False)
    assert export(model, simulated).new_item_rule.rule == "neighbours"


@pytest.mark.parametrize("scale", SCALES)
def test_modality_parts_follow_from_features_by_the_path_of_vbpr(scale, simulated):
    bundle = of_content(simulated, "vbpr", scale)
    row = int(np.flatnonzero(~bundle.features["visual"].present)[0])
    vector = bundle.embed(own_features(bundle, row)).vector
    for m in bundle.features:
        np.testing.assert_allclose(vector[bundle.parts[m]], bundle.item[row, bundle.parts[m]], atol=1e-4)
    assert not vector[bundle.parts["visual"]].any() and vector[bundle.parts["id"]].any()


def test_neighbours_are_those_of_a_plain_loop(simulated):
    bundle = export(models.build("mf", simulated.inputs(), dim=8), simulated)
    rule, (values, present) = bundle.new_item_rule, bundle.features["acoustic"]
    known = np.flatnonzero(present & (bundle.popularity > 0))
    f = np.asarray(values[5], dtype="f8")
    mean = np.asarray(values[known], dtype="f8").mean(axis=0)

    def cosine(i):
        x, y = values[i] - mean, f - mean
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    expected = sorted(known, key=lambda i: -cosine(i))[: rule.k["acoustic"]]
    rows, found = rule.neighbours(bundle.features, "acoustic", f.astype("f4"))
    np.testing.assert_allclose(found, [cosine(i) for i in expected], atol=1e-4)
    assert rows[0] == 5 == expected[0]


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_the_nearest_rows_are_those_of_a_plain_sort_and_equal_ones_by_lower_row(share, monkeypatch):
    monkeypatch.setattr("medley.serving.item_features.BLOCK", 64)
    rng = np.random.default_rng(2)
    values = rng.integers(-2, 3, size=(300, 2)).astype(np.float16)  # many are equal
    rows, norms = np.flatnonzero(rng.random(300) < share), np.maximum(np.linalg.norm(values.astype("f4"), axis=1), 1)
    found, cosine = nearest(values, rows, norms, np.array([0.6, 0.8], dtype="f4"), 0.25, 7)
    slow = {i: (values[i].astype("f4") @ np.array([0.6, 0.8], dtype="f4") - 0.25) / norms[i] for i in rows}
    assert found.tolist() == sorted(rows, key=lambda i: (-round(float(slow[i]), 5), i))[:7]
    np.testing.assert_allclose(cosine, [slow[i] for i in found], atol=1e-5)


def test_a_part_of_a_missing_modality_is_zero_and_the_missing_modality_is_named(simulated):
    bundle = export(models.build("mmgcn", simulated.inputs(), dim=8), simulated)
    features = {m: f.values[2] for m, f in bundle.features.items() if m != "textual"}
    found = bundle.embed(features)
    assert not found.vector[bundle.parts["textual"]].any() and found.vector[bundle.parts["visual"]].any()
    assert list(found.missing) == ["textual"]


def test_the_offset_is_a_part_of_the_score_of_a_new_item(simulated):
    bundle = export(models.build("mmgcn", simulated.inputs(), dim=8), simulated)
    vector = bundle.embed(own_features(bundle, 2)).vector[None]
    queries = bundle.scores.queries(np.arange(4))
    parts = bundle.scores.match_parts(queries, vector)
    assert list(parts) == ["visual", "acoustic", "textual", "new item"]
    np.testing.assert_allclose(sum(parts.values()), bundle.scores.match(queries, vector), atol=1e-4)


def test_what_cannot_be_embedded_is_said(simulated):
    bundle = export(models.build("mf", simulated.inputs(), dim=8), simulated)
    found = bundle.embed({})
    assert found.vector is None and found.reason == "the item has no features"
    assert set(found.missing) == set(bundle.features)
    random = export(models.build("freedom", simulated.inputs(), dim=8, random_features=True), simulated)
    assert random.embed(own_features(random, 1)).reason == "the model was trained on random features"
    frame = {
        "user_id": simulated.log["user"],
        "item_id": simulated.log["item"],
        "split": simulated.log["split"].cast(str),
    }
    data = medley.Dataset.from_frames(frame)
    bare = export(models.build("mf", data.inputs(), dim=8), data)
    assert bare.embed({}).reason == "the data set has no features"


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ({"smell": np.zeros(3)}, "visual or acoustic or textual"),
        ({"visual": np.zeros(3)}, "finite numbers.*shape"),
        ({"visual": None}, "NaN or infinity"),
    ],
)
def test_wrong_features_are_refused(simulated, features, problem):
    bundle = export(models.build("mf", simulated.inputs(), dim=8), simulated)
    dim = bundle.features["visual"].values.shape[1]
    given = {m: np.full(dim, np.nan) if f is None else f for m, f in features.items()}
    with pytest.raises(InputError, match=problem):
        bundle.embed(given)
