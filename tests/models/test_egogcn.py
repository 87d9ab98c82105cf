"""EgoGCN: its equations as slow loops over five nodes, its variants, missing and single modalities, explanations."""

import numpy as np
import pytest
import torch

from medley import models
from medley.models.egogcn import EgoGCN
from medley.testing import DIM, bpr, drawn, leaky_relu, parameters_of, scores_of, softmax, with_99_where_missing
from medley.training.sampling import TripletSampler
from medley.types import Features, Inputs, Interactions, Triplets

USERS, ITEMS = range(2), range(3)
OPTIONS = [
    {"fusion": "hard", "epsilon": 0.4},
    {"fusion": "hard", "epsilon": 0.4, "soft_pruning": True},
    {"fusion": "soft"},
    {"fusion": "soft", "soft_pruning": True},
    {"fusion": "soft", "self_loops": True},
    {"fusion": "merge"},
    {"fusion": "align"},
    {"fusion": "none"},
]


@pytest.fixture
def crossed(five_nodes: Inputs) -> Inputs:
    """The five nodes, but both users have seen item 1 and user 0 item 2, which lacks the acoustic modality.

    user 0: items 1, 2          user 1: items 0, 1          edges in the order of items are not in that of users
    """
    user, item = np.array([0, 0, 1, 1], "i4"), np.array([1, 2, 0, 1], "i4")
    return Inputs(Interactions(user, item, num_users=2, num_items=3), five_nodes.features)


def parts_of(model: EgoGCN) -> dict[str, np.ndarray]:
    users = torch.arange(model.num_users)
    with torch.no_grad():
        parts = model.contributions(users, torch.arange(model.num_items).repeat(model.num_users, 1))
    return {name: part.double().numpy() for name, part in parts.items()}


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


class Loops:
    """The paper once more. Nodes are ("user", u) and ("item", i); vectors and neighbours are dicts of nodes."""

    def __init__(self, model: EgoGCN, inputs: Inputs):
        self.w = parameters_of(model)
        self.inputs = inputs
        self.o = model.spec.options
        self.modalities = list(inputs.features)
        self.edges = list(zip(inputs.train.user.tolist(), inputs.train.item.tolist(), strict=True))
        self.nodes = [("user", u) for u in USERS] + [("item", i) for i in ITEMS]

    def has(self, node, m) -> bool:
        return node[0] == "user" or bool(self.inputs.features[m].present[node[1]])

    def near(self, node, m=None):
        """N of G_m; of the whole graph without m."""
        kind, row = node
        found = [("item", i) if kind == "user" else ("user", u) for u, i in self.edges if row == (u, i)[kind == "item"]]
        return [other for other in found if m is None or (self.has(other, m) and self.has(node, m))]

    def unit(self, x):
        length = np.linalg.norm(x)
        return x / length if self.o["unit_layers"] and length else x

    def layer0(self, m):
        x = {}
        for kind, row in self.nodes:
            if kind == "user":
                shared = f"u.{'all' if self.o['fusion'] == 'align' else m}"
                x[kind, row] = self.unit(self.w[shared][row])
            elif self.has((kind, row), m):
                projected = self.w[f"W.{m}.weight"] @ self.inputs.features[m].values[row]
                projected = projected + self.w[f"W.{m}.bias"]
                x[kind, row] = self.unit(leaky_relu(projected))
        return x

    def fused(self, center, other, m, x0):
        """i^_m,u (eq. 1-4)."""
        owned = [h for h in self.modalities if self.has(other, h)]
        if self.o["fusion"] == "hard":
            near = self.near(center, m)
            s = softmax([x0[m][n] @ x0[m][center] for n in near])[near.index(other)]  # eq. 1
            return np.mean([x0[h][other] for h in owned], axis=0) if s > self.o["epsilon"] else x0[m][other]  # eq. 2
        if self.o["fusion"] == "soft":
            total = x0[m][other]
            for h in owned:
                if h != m:
                    W, b = (self.w[f"{other[0]}_gates.{h}.{m}.{part}"][0] for part in ("weight", "bias"))
                    total = total + sigmoid(W @ x0[h][other] + b) * x0[h][other]  # eq. 3
            return total / len(owned)  # eq. 4
        return x0[m][other]

    def contents(self):
        """m -> last layer, and m -> {(center, other): affinity of eq. 5}."""
        x0 = {m: self.layer0(m) for m in self.modalities}
        last, affinities = {}, {}
        for m in self.modalities:
            x, affinities[m] = {}, {}
            for node in x0[m]:
                near = self.near(node, m)
                hats = [self.fused(node, other, m, x0) for other in near]
                s = softmax([hat @ x0[m][node] for hat in hats])  # eq. 5
                affinities[m] |= {(node, other): s[k] for k, other in enumerate(near)}
                total = sum((s[k] * hat for k, hat in enumerate(hats)), np.zeros(DIM))  # eq. 6
                x[node] = self.unit(total + (x0[m][node] if self.o["self_loops"] else 0))
            for _ in range(self.o["num_layers"] - 1):
                x = {node: self.routed(node, x, self.near(node, m)) for node in x}
            last[m] = x
        return last, affinities

    def routed(self, node, x, near):
        s = softmax([x[other] @ x[node] for other in near])
        return self.unit(x[node] + sum((s[k] * x[other] for k, other in enumerate(near)), np.zeros(DIM)))  # eq. 7, 8

    def aligned(self):
        """m -> last layer; one node per user, and one per item and modality that it has."""
        x = {}
        for m in self.modalities:
            x |= {(*node, "" if node[0] == "user" else m): vector for node, vector in self.layer0(m).items()}
        near = {}
        for kind, row, m in x:
            own = (kind, row)
            if kind == "user":
                near[kind, row, m] = [(*o, h) for o in self.near(own) for h in self.modalities if self.has(o, h)]
            else:
                siblings = [(kind, row, h) for h in self.modalities if h != m and self.has(own, h)]
                near[kind, row, m] = [(*o, "") for o in self.near(own)] + siblings
        for _ in range(self.o["num_layers"]):
            x = {node: self.routed(node, x, near[node]) for node in x}
        return {m: {n[:2]: vector for n, vector in x.items() if n[2] in ("", m)} for m in self.modalities}

    def id_weight(self, center, other, affinities):
        if not self.o["soft_pruning"]:
            return 1 / np.sqrt(len(self.near(center)) * len(self.near(other)))
        c = self.w[f"c.{other[0]}"]
        s = [affinities[m].get((center, other)) for m in self.modalities]
        return max([0, *(c[other[1], k] * value for k, value in enumerate(s) if value is not None)])

    def ids(self, affinities):
        e = {node: self.w[f"e_{node[0]}"][node[1]] for node in self.nodes}
        total = dict(e)
        for _ in range(self.o["num_id_layers"]):
            e = {
                node: sum(
                    (self.id_weight(node, o, affinities) * e[o] for o in self.near(node)), np.zeros(DIM)
                )  # eq. 10
                for node in self.nodes
            }
            total = {node: total[node] + e[node] for node in self.nodes}  # eq. 11
        return total

    def parts(self):
        """Part of the score -> (U, I) (eq. 12, 13)."""
        last, affinities = {}, {}
        if self.o["fusion"] == "align":
            last = self.aligned()
        elif self.o["fusion"] != "none":
            last, affinities = self.contents()
        parts = {"id": self.ids(affinities), **last}
        return {
            name: np.array([[x["user", u] @ x.get(("item", i), np.zeros(DIM)) for i in ITEMS] for u in USERS])
            for name, x in parts.items()
        }


@pytest.mark.parametrize("unit_layers", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equations_1_to_13_as_loops(crossed: Inputs, options: dict, unit_layers: bool):
    for num_layers, num_id_layers, seed in ((1, 0, 1), (2, 2, 2), (3, 1, 3)):
        options = {**options, "num_layers": num_layers, "num_id_layers": num_id_layers, "unit_layers": unit_layers}
        model = drawn("egogcn", crossed, seed=seed, **options)
        expected, found = Loops(model, crossed).parts(), parts_of(model)
        assert list(found) == list(expected)
        for name in expected:
            assert np.allclose(found[name], expected[name], rtol=1e-4, atol=1e-4), name
        assert np.allclose(scores_of(model), sum(expected.values()), rtol=1e-4, atol=1e-4)


def test_the_loss_is_bpr_plus_half_the_squared_rows_of_layer_0(crossed: Inputs):
    model = drawn("egogcn", crossed, reg=0.1)
    batch = Triplets(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([2, 0]))
    w, expected = parameters_of(model), bpr(scores_of(model), batch)
    for u, i, j in ((0, 0, 2), (1, 2, 0)):
        rows = [w["e_user"][u], w["e_item"][i], w["e_item"][j], *(w[f"u.{m}"][u] for m in crossed.features)]
        expected += 0.1 * sum(row @ row for row in rows) / 2 / len(batch.user)
    assert float(model.loss(batch).detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_loss_reaches_every_parameter_of_every_variant(checkerboard: Inputs, options: dict):
    model = models.build("egogcn", checkerboard, dim=8, **options)
    model.loss(TripletSampler(checkerboard.train, torch.Generator().manual_seed(0)).epoch()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_epsilon_0_fuses_every_neighbour_and_epsilon_1_none(crossed: Inputs):
    merge = parts_of(drawn("egogcn", crossed, fusion="merge"))
    retained, fused = (parts_of(drawn("egogcn", crossed, fusion="hard", epsilon=epsilon)) for epsilon in (1.0, 0.0))
    assert all(np.array_equal(retained[name], merge[name]) for name in merge)
    assert not np.allclose(fused["visual"], merge["visual"])


@pytest.mark.parametrize("options", [{"fusion": "hard", "epsilon": 0.0}, {"fusion": "soft"}], ids=str)
def test_with_one_modality_hard_and_soft_are_the_graph_merge_form(crossed: Inputs, options: dict):
    alone = Inputs(crossed.train, {"visual": crossed.features["visual"]})
    model, merge = drawn("egogcn", alone, **options), drawn("egogcn", alone, fusion="merge")
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in merge.named_parameters()]
    assert np.allclose(scores_of(model), scores_of(merge), atol=1e-5)
    assert model.about_user(0) == []


IDS = {"e_user", "e_item"}
CONTENT = {f"W.{m}.{part}" for m in ("visual", "acoustic") for part in ("weight", "bias")}
USERS_OF = {"u.visual", "u.acoustic"}
GATES = {
    f"{kind}_gates.{pair}.{part}"
    for kind in ("user", "item")
    for pair in ("visual.acoustic", "acoustic.visual")
    for part in ("weight", "bias")
}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"fusion": "hard"}, IDS | CONTENT | USERS_OF),
        ({"fusion": "soft"}, IDS | CONTENT | USERS_OF | GATES),
        ({"fusion": "merge"}, IDS | CONTENT | USERS_OF),
        ({"fusion": "align"}, IDS | CONTENT | {"u.all"}),
        ({"fusion": "none"}, IDS),
        ({"fusion": "merge", "soft_pruning": True}, IDS | CONTENT | USERS_OF | {"c.user", "c.item"}),
    ],
    ids=str,
)
def test_names_in_saved_weights_stay_so_that_old_runs_load(crossed: Inputs, options: dict, names: set[str]):
    assert set(models.build("egogcn", crossed, **options).state_dict()) == names


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_stored_for_missing_features_never_matter(crossed: Inputs, options: dict):
    found = scores_of(drawn("egogcn", with_99_where_missing(crossed), **options))
    assert np.array_equal(found, scores_of(drawn("egogcn", crossed, **options)))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_item_without_a_modality_has_no_part_of_it(crossed: Inputs, options: dict):
    parts = parts_of(drawn("egogcn", crossed, **options))
    if "acoustic" in parts:
        assert (parts["acoustic"][:, 2] == 0).all()
        assert (parts["acoustic"][:, :2] != 0).all()
        assert (parts["visual"] != 0).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_users_and_items_without_edges_and_items_without_any_modality_have_finite_scores(options: dict):
    rng = np.random.default_rng(0)
    train = Interactions(np.array([0, 0, 1], "i4"), np.array([0, 1, 3], "i4"), num_users=3, num_items=5)
    present = np.array([True, True, True, False, False])  # item 3 was seen and has no modality, item 4 nothing
    features = {m: Features(rng.normal(size=(5, 4)).astype("f4"), present) for m in ("a", "b")}
    model = drawn("egogcn", Inputs(train, features), **options)
    assert np.isfinite(scores_of(model)).all()
    batch = Triplets(torch.tensor([0, 1]), torch.tensor([0, 3]), torch.tensor([4, 2]))
    model.loss(batch).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_self_loops_give_an_item_without_users_a_part_of_content(checkerboard: Inputs):
    unseen = checkerboard.train.num_items - 1
    for self_loops in (False, True):
        parts = parts_of(models.build("egogcn", checkerboard, dim=8, self_loops=self_loops))
        assert (parts["visual"][:, unseen] != 0).all() == self_loops


def test_soft_pruning_cuts_an_edge_that_no_modality_is_confident_of(crossed: Inputs):
    model = drawn("egogcn", crossed, soft_pruning=True, num_id_layers=1)
    with torch.no_grad():
        model.get_parameter("c.item").fill_(-1.0)
    pruned = parts_of(model)["id"][:, 2]
    with torch.no_grad():
        model.get_parameter("e_item")[:2] = 7.0  # users aggregate no item any more
    assert np.array_equal(parts_of(model)["id"][:, 2], pruned)


def test_insights_of_hard_are_the_fused_neighbours_with_their_affinities(crossed: Inputs):
    model = drawn("egogcn", crossed, fusion="hard", epsilon=0.4, seed=3)  # 3: one of two is fused
    loops = Loops(model, crossed)
    about = {insight.topic: insight for insight in model.about_user(0)}
    for m in crossed.features:
        x, near = loops.layer0(m), loops.near(("user", 0), m)
        s = softmax([x[other] @ x["user", 0] for other in near])
        expected = {other[1]: value for other, value in zip(near, s, strict=True) if value > 0.4}
        assert len(expected) == 1
        found = about[f"{m}: fused items"]
        assert found.kind == "items" and found.weights == pytest.approx(expected)
    assert model.about_item(0)[0] == ("visual: fused users", {1: 1.0}, "users")  # its only neighbour


def test_insights_of_soft_are_the_gates_of_the_neighbours(crossed: Inputs):
    model = drawn("egogcn", crossed, fusion="soft")
    loops = Loops(model, crossed)
    about = {insight.topic: insight for insight in model.about_user(0)}
    assert set(about) == {"visual: gates of items for acoustic", "acoustic: gates of items for visual"}
    gates = about["visual: gates of items for acoustic"]
    W, b = (loops.w[f"item_gates.acoustic.visual.{part}"][0] for part in ("weight", "bias"))
    expected = sigmoid(W @ loops.layer0("acoustic")["item", 1] + b)
    assert gates.weights == pytest.approx({1: expected}, rel=1e-4)  # item 2 lacks the acoustic modality
    about = {insight.topic: insight for insight in model.about_item(1)}
    weights = about["acoustic: gates of users for visual"].weights
    assert set(weights) == {0, 1} and list(weights.values()) == sorted(weights.values(), reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "option 'num_layers' of egogcn: expected 1 or more, got 0"),
        ({"num_id_layers": -1}, "option 'num_id_layers' of egogcn: expected 0 or more, got -1"),
        ({"epsilon": 1.5}, "option 'epsilon' of egogcn: expected 1 or less, got 1.5"),
        ({"fusion": "none", "soft_pruning": True}, "soft_pruning of egogcn: .* got fusion = none"),
        ({"fusion": "align", "soft_pruning": True}, "soft_pruning of egogcn: .* got fusion = align"),
        ({"fusion": "gm"}, "'fusion' of egogcn"),
    ],
)
def test_options_that_make_no_sense_are_refused(crossed: Inputs, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        models.build("egogcn", crossed, **options)


def test_ids_alone_need_no_features_and_all_else_does(crossed: Inputs):
    bare = Inputs(crossed.train, {})
    assert list(parts_of(drawn("egogcn", bare, fusion="none"))) == ["id"]
    with pytest.raises(ValueError, match="at least one modality"):
        models.build("egogcn", bare)
