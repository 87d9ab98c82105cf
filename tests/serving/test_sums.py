"""Users that are sums over their items: what is served equals what torch computes of the same history."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.serving.asking import served

import medley
from medley.errors import InputError
from medley.models import Recommender
from medley.models.mosaic import Mosaic
from medley.serving.bundle import Bundle
from medley.serving.export import export, listed
from medley.serving.export.sum_rule import sum_rule
from medley.serving.requests import Event, ItemRequest, RecommendRequest, UserRequest
from medley.serving.scores import Vectors
from medley.serving.service import Service
from medley.testing import drawn
from medley.types import Embeddings, HistorySum, Interactions

OPTIONS = {"timed": {}, "without order": {"use_order": False}, "no transition": {"use_transition": False}}
SMALL = {"dim": 8, "max_length": 6, "tau": 0.3, "popularity": 0.4, "cold_offset": 0.7}


@pytest.fixture(scope="module", params=[*OPTIONS])
def exported(request, simulated, tmp_path_factory):
    """A model with drawn weights, its data and its bundle, read from a file."""
    model = drawn("mosaic", simulated.inputs(), **SMALL, **OPTIONS[request.param])
    path = tmp_path_factory.mktemp("bundles") / "bundle.medley"
    medley.export(model, simulated, out=path)
    return model, simulated, Bundle.read(path)


def torch_scores(model: Recommender, history: list[int], ages: np.ndarray | None = None) -> np.ndarray:
    """(I,), the scores of a user who has seen these items, the latest last or by age."""
    item = np.array(history, dtype="i4")
    time = np.arange(len(item)) if ages is None else -ages
    with torch.no_grad():
        found = model.eval().scorer_of(Interactions(np.zeros_like(item), item, 1, model.num_items, time))
        return (found.user @ found.item.T).numpy()[0]


def raw_ids(data, rows) -> list[str]:
    return [data.items.raw_id(int(row)) for row in rows]


@pytest.mark.parametrize("size", [1, 4, 6, 15])
def test_a_history_is_scored_as_the_model_scores_it_however_long(exported, size):
    model, data, bundle = exported
    history = np.random.default_rng(size).permutation(model.num_items)[:size]
    np.testing.assert_allclose(
        served(Service(bundle), history=raw_ids(data, history)), torch_scores(model, history), atol=1e-5
    )
    assert bundle.fold_in_rule.rule == bundle.manifest.fold_in["rule"] == "sum"


def test_the_order_matters_where_the_model_reads_it(exported):
    model, _, bundle = exported
    history = np.array([5, 17, 2, 40])
    is_equal = np.allclose(bundle.fold_in(history), bundle.fold_in(history[::-1]), atol=1e-6)
    assert is_equal == (model.history_sum().by_age is None)


def test_every_user_of_the_model_is_made_again_from_the_bundle_alone(exported):
    _, _, bundle = exported
    rule = bundle.fold_in_rule
    for user in range(bundle.manifest.num_users):
        query = bundle.fold_in(bundle.history(user), rule.weights_of(bundle.ages(user)))
        np.testing.assert_allclose(query, bundle.scores.queries(np.array([user]))[0], rtol=1e-4, atol=1e-5)


def test_feedback_moves_a_known_user_as_the_model_would(exported):
    model, data, bundle = exported
    service, user = Service(bundle), 4
    seen = data.union("train+valid+test").csr()[[user]].indices
    new = np.setdiff1d(np.arange(model.num_items), seen)[:2].tolist()
    for row in new:
        service.feedback([Event(user=data.users.raw_id(user), item=data.items.raw_id(row), type="like")])
    train = data.train.only(data.train.user == user)
    ages = np.append(train.ages() + 2, [1, 0])
    expected = torch_scores(model, [*train.item, *new], ages)
    np.testing.assert_allclose(served(service, user=data.users.raw_id(user)), expected, atol=1e-5)


def test_a_user_who_was_put_has_a_history_in_order_and_later_feedback(exported):
    model, data, bundle = exported
    service, history = Service(bundle), [8, 3, 30]
    service.put_user("new", UserRequest(history=raw_ids(data, history)))
    np.testing.assert_allclose(served(service, user="new"), torch_scores(model, history), atol=1e-5)
    service.feedback([Event(user="new", item=data.items.raw_id(21), type="like")])
    np.testing.assert_allclose(served(service, user="new"), torch_scores(model, [*history, 21]), atol=1e-5)


def by_hand(model: Mosaic, weights: dict[int, float]) -> np.ndarray:
    """(I,), the scores of a user who is a weighted sum of items."""
    with torch.no_grad():
        own, of_m = model._parts_of_items()
        h = sum(of_m.values(), own).double().numpy()
        x = sum(weight * h[row] for row, weight in weights.items())
        x = x if model.A is None else x @ model.A.double().numpy()
        cosine = h @ x / (np.linalg.norm(h, axis=1) * np.linalg.norm(x)).clip(1e-30)
        return cosine / model.tau + model._prior().squeeze(1).numpy()


def test_a_disliked_item_weighs_as_much_as_the_latest_with_a_minus(exported):
    model, data, bundle = exported
    r = model.history_sum().by_age
    latest, before = (1.0, 1.0) if r is None else r[:2].tolist()
    liked, disliked = raw_ids(data, [7, 33]), raw_ids(data, [50])
    service = Service(bundle)
    answer = service.recommend(RecommendRequest(positive=liked, negative=disliked, k=90, hide_seen=False))
    expected = by_hand(model, {7: latest, 33: latest, 50: -latest})  # examples have no order
    assert len(answer.items) == model.num_items - 1  # all but the disliked one
    for item in answer.items:
        assert item.score == pytest.approx(expected[data.items.row(item.id)], abs=1e-5)
    service.put_user("new", UserRequest(history=liked))
    service.feedback([Event(user="new", item=disliked[0], type="dislike")])
    expected = by_hand(model, {7: before, 33: latest, 50: -latest})
    np.testing.assert_allclose(served(service, user="new"), expected, atol=1e-5)


def test_a_user_without_items_has_the_prior_alone(exported):
    model, _, bundle = exported
    query = bundle.fold_in(np.zeros(0, dtype=np.int64))
    with torch.no_grad():
        prior = model._prior().squeeze(1).numpy()
    np.testing.assert_allclose(bundle.scores.scores(query[None])[0], prior, atol=1e-6)
    assert query[-1] == pytest.approx(prior.std(), rel=1e-4)


def test_parts_of_a_new_user_sum_to_the_score_and_can_be_weighted(exported):
    model, data, bundle = exported
    service, history = Service(bundle), raw_ids(data, [5, 17, 2])
    answer = service.recommend(RecommendRequest(history=history, k=5, explain=True))
    assert len(answer.items) == 5
    for item in answer.items:
        assert set(item.why.parts) == set(model.parts())
        assert sum(item.why.parts.values()) == pytest.approx(item.score, abs=1e-5)
    everything = raw_ids(data, range(model.num_items))
    by_popularity = served(service, history=history, weights=dict.fromkeys(["id", *data.features], 0.0))
    with torch.no_grad():
        np.testing.assert_allclose(by_popularity, model._prior().squeeze(1).numpy(), atol=1e-6)
    assert len(service.similar(everything[3], k=4).items) == 4


def test_a_new_item_counts_in_a_history_as_an_item_without_interactions_does_in_the_model(exported):
    model, data, bundle = exported
    cold, other = int(np.flatnonzero(data.train.users_per_item() == 0)[0]), 9
    features = {m: f.values[cold].tolist() for m, f in data.features.items() if f.present[cold]}
    service = Service(bundle)
    service.put_item("fresh", ItemRequest(features=features))
    scores = served(service, history=["fresh", *raw_ids(data, [other])])
    np.testing.assert_allclose(scores, torch_scores(model, [cold, other]), atol=1e-4)


def test_a_cold_item_with_other_features_counts_by_those(exported):
    _, data, bundle = exported
    cold, other = np.flatnonzero(data.train.users_per_item() == 0)[:2].tolist()
    features = {m: f.values[other].tolist() for m, f in data.features.items() if f.present[other]}
    service = Service(bundle)
    service.put_item(*raw_ids(data, [cold]), ItemRequest(features=features))
    found = service.people.fold_in([cold, 9])
    np.testing.assert_allclose(found, bundle.fold_in(np.array([other, 9])), atol=1e-4)


def test_a_new_item_of_a_model_without_a_path_has_the_mean_length(simulated):
    data, model = simulated, drawn("mosaic", simulated.inputs(), **SMALL, use_content=False)
    bundle = export(model, data)
    service, features = Service(bundle), {m: f.values[4].tolist() for m, f in data.features.items() if f.present[4]}
    service.put_item("fresh", ItemRequest(features=features))
    row = service.catalogue.row("fresh")
    vector = service.catalogue.vectors(np.array([row]))[0].astype("f8")
    parts = bundle.parts
    v = sum(vector[columns] for name, columns in parts.items() if name != "popularity")
    said = model.history_sum()
    x = v * said.length[torch.from_numpy(data.train.users_per_item() > 0)].mean().item()
    x = x if model.A is None else x @ model.A.detach().double().numpy()
    query = service.people.fold_in([row])
    for name, columns in parts.items():
        expected = [1.0] if name == "popularity" else x / np.linalg.norm(x) / model.tau
        np.testing.assert_allclose(query[columns], expected, rtol=1e-4, atol=1e-5)
    answer = service.recommend(RecommendRequest(history=["fresh", *raw_ids(data, [9])], k=5, explain=True))
    assert len(answer.items) == 5 and all(np.isfinite(item.score) for item in answer.items)


def test_pairs_of_one_moment_have_the_order_of_the_model():
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, [30, 20], (250, 2)), axis=0)
    log = {"user_id": pairs[:, 0], "item_id": pairs[:, 1], "timestamp": rng.integers(0, 3, len(pairs))}
    data = medley.Dataset.from_frames(log, split="random")
    bundle = export(drawn("mosaic", data.inputs(), dim=4, max_length=3, popularity=0.3, cold_offset=1.0), data)
    for user in range(data.manifest.num_users):
        assert len(set(bundle.ages(user).tolist())) == len(bundle.history(user))
        query = bundle.fold_in(bundle.history(user), bundle.fold_in_rule.weights_of(bundle.ages(user)))
        np.testing.assert_allclose(query[:-1], bundle.user[user, :-1], atol=1e-5)


def test_a_refit_on_more_data_is_made_of_what_it_has_learned(simulated, tmp_path):
    quick = {"num_epochs": 1, "progress": False, **SMALL}
    run = medley.train("mosaic", simulated, train_on="train+valid", out=tmp_path / "run", **quick)
    bundle = export(run, simulated)
    query = bundle.fold_in(bundle.history(3), bundle.fold_in_rule.weights_of(bundle.ages(3)))
    np.testing.assert_allclose(query[:-1], bundle.user[3, :-1], atol=1e-5)
    np.testing.assert_array_equal(export(run.model(simulated), simulated).user, bundle.user)


def test_a_bundle_without_the_rule_is_read_and_infers_users_as_before(simulated, tmp_path, monkeypatch):
    model = drawn("mosaic", simulated.inputs(), **SMALL)
    monkeypatch.setattr(Mosaic, "history_sum", Recommender.history_sum)
    export(model, simulated, tmp_path / "old")
    monkeypatch.undo()
    read = Bundle.read(tmp_path / "old")
    assert read.fold_in_rule.rule in ("map", "least squares", "map and least squares")
    query = read.fold_in(np.array([3, 9, 1]))
    assert query.shape == (read.item.shape[1],) and np.isfinite(query).all()


def test_a_bundle_folds_in_without_torch(simulated, tmp_path):
    export(drawn("mosaic", simulated.inputs(), **SMALL), simulated, tmp_path / "shop.medley")
    code = (
        "import sys; from medley.serving.service import Service; from medley.serving.requests import RecommendRequest;"
        "s = Service.open(sys.argv[1]); ids = s.bundle.items['item_id'].to_list();"
        "assert len(s.recommend(RecommendRequest(history=ids[:3], k=5, explain=True)).items) == 5;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "shop.medley"], check=False).returncode == 0


class Plain(Recommender):
    """Users are sums of item vectors, without parts, constants or order."""

    reads_features = False
    wrong = 1.0

    def __init__(self, inputs):
        super().__init__(inputs)
        self.q = torch.nn.Parameter(torch.randn(self.num_items, 4, generator=torch.Generator().manual_seed(0)))
        self.register_buffer("seen", torch.from_numpy(inputs.train.csr().toarray()), persistent=False)

    def forward(self) -> Embeddings:
        return Embeddings(3 * torch.nn.functional.normalize(self.seen @ self.q), self.q)

    def history_sum(self) -> HistorySum:
        length = self.q.new_ones(self.num_items) * self.wrong
        return HistorySum(length, None, by_age=None, age=None, scale=3.0, constants={})


def test_a_model_of_a_stranger_is_exact_and_a_wrong_declaration_is_refused(simulated):
    model = Plain(simulated.inputs())
    bundle = export(model, simulated)
    history = np.array([3, 9, 1])
    with torch.no_grad():
        x = model.q[history].sum(dim=0)
        expected = (3 * x / x.norm() @ model.q.T).numpy()
    np.testing.assert_allclose(bundle.scores.scores(bundle.fold_in(history)[None])[0], expected, atol=1e-5)
    assert bundle.age is None
    model.wrong = torch.arange(model.num_items)
    with pytest.raises(InputError, match="history_sum of Plain: expected users that are the sums over their items"):
        export(model, simulated)


def test_constants_of_another_number_are_refused(exported):
    model, data, bundle = exported
    said = model.history_sum()
    model.history_sum = lambda: said._replace(constants={"popularity": torch.ones(2)})
    try:
        assert isinstance(bundle.scores, Vectors)
        with pytest.raises(InputError, match="expected 1 constants"):
            sum_rule(model, bundle.scores, data.train.csr())
    finally:
        del model.history_sum


def test_the_list_of_models_says_whose_new_users_are_exact():
    assert listed("mosaic")["new_users"] == "exact: the model's sum over the history"
    assert listed("mf")["new_users"] == "inferred from the item vectors"
