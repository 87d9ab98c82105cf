"""New items: the model's own path where it has one, else neighbours; shown as often as other items."""

import numpy as np
import pytest
import torch

import medley
from medley import models
from medley.errors import InputError
from medley.serving.export import export


def own_features(bundle, row):
    return {m: f.values[row] for m, f in bundle.features.items() if f.present[row]}


@pytest.mark.parametrize("scale", ["none", "l2", "standard"])
@pytest.mark.parametrize("name", ["duif", "cb2cf"])
def test_an_item_of_the_catalogue_gets_its_own_vector_by_the_models_content_path(name, scale, simulated):
    model = models.build(name, simulated.inputs(), dim=8, feature_scale=scale)
    with torch.no_grad():
        for parameter in model.parameters():  # also those that start at 0
            parameter.add_(0.05 * torch.randn_like(parameter))
    bundle = export(model, simulated)
    assert bundle.new_item_rule.rule == "content"
    lacking = np.flatnonzero(~np.all([f.present for f in bundle.features.values()], axis=0))
    for row in (0, 17, int(lacking[0])):
        vector = bundle.embed(own_features(bundle, row)).vector
        np.testing.assert_allclose(vector, bundle.item[row], atol=1e-4 * np.abs(bundle.item[row]).max())


def test_modality_parts_follow_from_features_by_the_path_of_vbpr(simulated):
    bundle = export(models.build("vbpr", simulated.inputs(), dim=8), simulated)
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


def test_a_part_of_a_missing_modality_is_zero_and_the_missing_modality_is_named(simulated):
    bundle = export(models.build("mmgcn", simulated.inputs(), dim=8), simulated)
    features = {m: f.values[2] for m, f in bundle.features.items() if m != "textual"}
    found = bundle.embed(features)
    assert not found.vector[bundle.parts["textual"]].any() and found.vector[bundle.parts["visual"]].any()
    assert list(found.missing) == ["textual"]


@pytest.mark.parametrize("name", ["mf", "mmgcn", "ease", "itemknn", "macridvae", "vbpr"])
@pytest.mark.parametrize("exposure", [1.0, 3.0])
def test_a_new_item_enters_as_many_lists_as_an_average_item_times_exposure(name, exposure, simulated):
    options = {"dim": 8} if "dim" in models.describe(name)["options"] else {}
    bundle = export(models.build(name, simulated.inputs(), **options), simulated, exposure=exposure)
    train = bundle.seen.toarray() == 1
    users = bundle.new_item_rule.judges
    queries = bundle.scores.queries(users)
    scores = np.where(train[users], -np.inf, bundle.scores.scores(queries))
    least = np.sort(scores, axis=1)[:, -20]
    wanted = exposure * 20 * len(users) / (bundle.popularity > 0).sum()
    for row in (1, 2, 3):
        vector = bundle.embed(own_features(bundle, row)).vector
        places = (bundle.scores.match(queries, vector[None])[:, 0] >= least - 1e-5).sum()
        assert abs(places - wanted) <= 2 + 0.2 * wanted  # equal scores enter together


def test_the_offset_is_a_part_of_the_score_of_a_new_item(simulated):
    bundle = export(models.build("mmgcn", simulated.inputs(), dim=8), simulated)
    vector = bundle.embed(own_features(bundle, 2)).vector[None]
    queries = bundle.scores.queries(np.arange(4))
    parts = bundle.scores.match_parts(queries, vector)
    assert list(parts) == ["visual", "acoustic", "textual", "new item"]
    np.testing.assert_allclose(sum(parts.values()), bundle.scores.match(queries, vector), atol=1e-4)


@pytest.mark.parametrize(("name", "options"), [("ease", {}), ("itemknn", {"similarity": "content"})])
def test_new_items_rank_higher_for_users_whose_planted_taste_they_fit(name, options, tmp_path):
    """Items are left out of the training and come back by their features alone."""
    settings = medley.preset("demo", num_users=200, num_items=240, num_interactions=6000, num_clusters=6)
    data = medley.simulate(tmp_path / "data", settings=settings, seed=2)
    gone = np.random.default_rng(0).permutation(240)[:30]
    part = without_items(data, gone)
    bundle = export(medley.build(name, part, **options), part)
    found = {int(i): bundle.embed(own_features(bundle, i)).vector for i in gone}
    vectors = {i: vector for i, vector in found.items() if vector is not None}
    score = bundle.scores.match(bundle.scores.queries(np.arange(len(part.users))), np.stack([*vectors.values()]))
    rank = score.argsort(axis=1).argsort(axis=1) / (len(vectors) - 1)
    liked = np.zeros((200, 240), dtype=bool)
    liked[data.log["user"].to_numpy(), data.log["item"].to_numpy()] = True
    users = np.array([data.users.row(raw) for raw in part.users.raw])
    assert rank[liked[np.ix_(users, list(vectors))]].mean() > 0.62  # 0.5 by chance


def without_items(data, gone):
    """The data set without the interactions of some items, which keep their rows."""
    log = data.log.filter(~data.log["item"].is_in(gone.tolist()))
    frame = {
        "user_id": data.users.raw.gather(log["user"].to_numpy()),
        "item_id": data.items.raw.gather(log["item"].to_numpy()),
        "split": log["split"].cast(str),
    }
    features = {m: (np.asarray(f.values), f.present) for m, f in data.features.items()}
    return medley.Dataset.from_frames(frame, items=data.item_table.select("item_id"), features=features)


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
