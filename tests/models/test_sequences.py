"""SASRec and GRU4Rec: their equations as slow loops, what they may read, and a planted rule of the next item."""

import numpy as np
import polars as pl
import pytest
import torch

import medley
from medley import models
from medley.errors import InputError
from medley.models import Recommender
from medley.testing import BATCH, content_of, drawn, parameters_of, scores_of, softmax
from medley.types import Inputs, Interactions, Triplets

BOTH = ("sasrec", "gru4rec")
IN_ORDER = {0: [1, 0], 1: [2]}  # user -> items of `five_nodes` in the order of time


def normalised(w, name: str, x: np.ndarray) -> np.ndarray:
    mean, variance = x.mean(), x.var()
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(w, vectors: list[np.ndarray], num_layers: int) -> np.ndarray:
    """F_L of SASRec, from item vectors in the order of time."""
    if not vectors:
        return w["F_0"]
    x = [np.sqrt(len(q)) * q + w["P"][k] for k, q in enumerate(vectors)]
    for b in (f"blocks.{block}" for block in range(num_layers)):
        h = [normalised(w, f"{b}.norm_E", each) for each in x]
        Q, K, V = ([w[f"{b}.W_{letter}.weight"] @ each for each in h] for letter in "QKV")
        S = []
        for k in range(len(x)):
            weights = softmax([Q[k] @ K[j] / np.sqrt(len(Q[k])) for j in range(k + 1)])
            S.append(x[k] + sum(weights[j] * V[j] for j in range(k + 1)))
        x = []
        for s in S:
            hidden = np.maximum(w[f"{b}.W_1.weight"] @ normalised(w, f"{b}.norm_S", s) + w[f"{b}.W_1.bias"], 0)
            x.append(s + w[f"{b}.W_2.weight"] @ hidden + w[f"{b}.W_2.bias"])
    return normalised(w, "norm", x[-1])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrence(w, vectors: list[np.ndarray], num_layers: int) -> np.ndarray:
    """h_L of GRU4Rec, from item vectors in the order of time."""
    h = w[f"layers.{num_layers - 1}.h_0"]
    for layer in (f"layers.{layer}" for layer in range(num_layers)):
        h, found = w[f"{layer}.h_0"], []
        for x in vectors:
            z, r = (
                sigmoid(w[f"{layer}.W_{g}.weight"] @ x + w[f"{layer}.W_{g}.bias"] + w[f"{layer}.U_{g}.weight"] @ h)
                for g in "zr"
            )
            new = w[f"{layer}.W.weight"] @ x + w[f"{layer}.W.bias"] + w[f"{layer}.U.weight"] @ (r * h)
            h = (1 - z) * h + z * np.tanh(new)
            found.append(h)
        vectors = found
    return vectors[-1] if vectors else w[f"layers.{num_layers - 1}.h_0"]


SLOW = {"sasrec": (attention, "M"), "gru4rec": (recurrence, "q")}


def slow_scores(model: Recommender, inputs: Inputs, num_layers: int, max_length: int, before=()) -> np.ndarray:
    """Scores (3,) for each history: of both users, or of the users of `before` before an item."""
    encode, table = SLOW[model.spec.name]
    w = parameters_of(model)
    items = w[table].copy()
    if model.content is not None:
        items += [content_of(w, "content", inputs, i) for i in range(3)]
    cut = [IN_ORDER[u][: IN_ORDER[u].index(i)] for u, i in before] or IN_ORDER.values()
    return np.array([items @ encode(w, [items[i] for i in one[-max_length:]], num_layers) for one in cut])


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("use_content", [False, True])
@pytest.mark.parametrize(("num_layers", "max_length"), [(1, 5), (2, 5), (2, 1)])
def test_scores_are_those_of_slow_loops(five_nodes, name, use_content, num_layers, max_length):
    options = {"num_layers": num_layers, "max_length": max_length}
    model = drawn(name, five_nodes, use_content=use_content, **options)
    assert np.allclose(scores_of(model), slow_scores(model, five_nodes, **options), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "loss"), [("sasrec", "softmax"), ("sasrec", "bce"), ("gru4rec", "softmax"), ("gru4rec", "bpr-max")]
)
def test_losses_are_those_of_slow_loops(five_nodes, name, loss):
    options = {"num_layers": 2, "max_length": 5}
    extra = {"reg": 0.3} if loss == "bpr-max" else {}
    model = drawn(name, five_nodes, loss=loss, num_negatives=2, **options, **extra).eval()
    users, positives, negatives = (column.tolist() for column in BATCH)
    scores = slow_scores(model, five_nodes, **options, before=[*zip(users, positives, strict=True)])
    expected = []
    for s, i, j in zip(scores, positives, negatives, strict=True):
        shared = np.array([s[k] for k in negatives[:2] if k != i])
        p = softmax(shared)
        expected.append(
            {
                "bce": -np.log(sigmoid(s[i])) - np.log(1 - sigmoid(s[j])),
                "softmax": -np.log(np.exp(s[i]) / (np.exp(s[i]) + np.exp(shared).sum())),
                "bpr-max": -np.log(p @ sigmoid(s[i] - shared)) + 0.3 * p @ shared**2,
            }[loss]
        )
    with torch.no_grad():
        assert model.loss(BATCH).item() == pytest.approx(np.mean(expected), rel=1e-4)


def timed(*histories: list[int], num_items: int = 12, stop: int | None = None) -> Inputs:
    """Users with items in the order of time; rows in another order. Without the items from place `stop` on."""
    rows = [(u, i, k) for u, items in enumerate(histories) for k, i in enumerate(items[:stop])]
    user, item, time = (np.array(column, dtype="i4") for column in zip(*rows[::-1], strict=True))
    return Inputs(Interactions(user, item, len(histories), num_items, time), {})


@pytest.mark.parametrize("name", BOTH)
def test_a_prediction_reads_nothing_of_the_future(name):
    """The loss at a place is that of other later items, of no later items, and of the user as they were then."""
    first, second = timed([3, 1, 4, 0, 5]), timed([3, 1, 4, 7, 8, 9, 2])
    batch = Triplets(torch.tensor([0, 0]), torch.tensor([1, 4]), torch.tensor([10, 11]))
    built = [drawn(name, inputs, max_length=4, num_negatives=2) for inputs in (first, second, timed([3, 1, 4]))]
    for model in built[1:]:
        model.load_state_dict(built[0].state_dict())
    with torch.no_grad():
        losses = [model.eval().loss(batch).item() for model in built]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    then = drawn(name, timed([3, 1, 4, 0, 5], stop=2), max_length=4)
    then.load_state_dict(built[0].state_dict())
    with torch.no_grad():
        state = built[0]._states(built[0].histories.before(torch.tensor([0]), torch.tensor([4])), built[0]._items(), 1)
        assert torch.allclose(state[0], then().user[0], atol=1e-5)
    now = drawn(name, timed([1, 3, 4, 0, 5]), max_length=4, num_negatives=2)  # the past does count
    now.load_state_dict(built[0].state_dict())
    with torch.no_grad():
        assert now.eval().loss(batch).item() != pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("name", BOTH)
def test_items_of_the_same_moment_predict_each_other_from_the_same_past(name):
    user, item = np.zeros(4, "i4"), np.array([2, 0, 3, 1], "i4")
    inputs = Inputs(Interactions(user, item, 1, 12, time=np.array([0, 5, 5, 5])), {})
    model = drawn(name, inputs)
    with torch.no_grad():
        windows = model.histories.before(torch.zeros(3, dtype=torch.int64), torch.tensor([0, 3, 1]))
        state = model._states(windows, model._items(), 3)
    assert torch.equal(state[0], state[1]) and torch.equal(state[0], state[2])


@pytest.mark.parametrize("name", BOTH)
def test_a_model_of_a_data_set_reads_train_alone_and_takes_a_fresh_history(name, simulated):
    model = models.build(name, simulated.inputs(), dim=8)
    grown = simulated.union("train+valid")
    other = models.build(name, simulated.inputs("train+valid"), dim=8)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        train, fresh = model().user, model.scorer_of(grown).user
        assert torch.allclose(fresh, other().user, atol=1e-5)
        assert torch.allclose(model.scorer_of(simulated.train).user, train, atol=1e-6)
    grew = np.isin(np.arange(60), simulated.valid.user)
    same = torch.isclose(fresh, train, atol=1e-6).all(dim=1).numpy()
    assert grew.any() and not same[grew].any() and same[~grew].all()


@pytest.mark.parametrize("name", BOTH)
def test_logs_without_times_are_refused(name, five_nodes):
    train = five_nodes.train
    without = Interactions(train.user, train.item, train.num_users, train.num_items)
    with pytest.raises(InputError, match=r"interactions with times, got none\. Remedy: import the data with a time"):
        models.build(name, five_nodes._replace(train=without))
    with pytest.raises(InputError, match="interactions with times"):
        models.build(name, five_nodes).scorer_of(without)


@pytest.mark.parametrize("name", BOTH)
def test_content_gives_items_without_interactions_a_score_of_their_own(name, five_nodes):
    train = five_nodes.train.only(five_nodes.train.item != 1)
    model = models.build(name, five_nodes._replace(train=train), dim=4, use_content=True)
    assert model.reads_features and not models.build(name, five_nodes).reads_features
    with torch.no_grad():
        moved = model().item[1] - model.get_parameter({"sasrec": "M", "gru4rec": "q"}[name])[1]
    assert moved.abs().max() > 1e-3


def test_attention_of_a_user_is_spread_over_their_items(checkerboard):
    model = models.build("sasrec", checkerboard, dim=8)
    (insight,) = model.about_user(0)
    mine = checkerboard.train.item[checkerboard.train.user == 0]
    assert set(insight.weights) == set(mine.tolist())
    assert sum(insight.weights.values()) == pytest.approx(1, abs=1e-5)
    train = checkerboard.train.only(checkerboard.train.user > 0)
    assert models.build("sasrec", checkerboard._replace(train=train), dim=8).about_user(0) == []


@pytest.fixture(scope="module")
def planted() -> medley.Dataset:
    """300 users who walk on a ring of 60 items by steps of seven, with one jump in five."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(300):
        item, seen = int(rng.integers(60)), []
        while len(seen) < 8:
            if item not in seen:
                seen.append(item)
            item = (item + 7) % 60 if rng.random() < 0.8 else int(rng.integers(60))
        splits = ["train"] * 6 + ["valid", "test"]
        rows += [(user, f"i{i}", split, k) for k, (i, split) in enumerate(zip(seen, splits, strict=True))]
    log = pl.DataFrame(rows, schema=["user", "item", "split", "timestamp"], orient="row")
    return medley.Dataset.from_frames(log)


@pytest.mark.parametrize("name", BOTH)
def test_the_planted_next_item_is_first_far_more_often_than_with_item_knn(name, planted):
    def recall(model, **settings):
        run = medley.train(model, planted, train_on="train+valid", progress=False, **settings)
        return medley.evaluate(run, planted, at=1).metrics["recall@1"]

    ours = recall(name, num_epochs=10, lr=1e-2, batch_size=256, dropout=0.1, dim=32)
    assert ours > 0.6
    assert ours > 2 * recall("itemknn")
