"""GraphSAGE, GAT, NGCF and LR-GCCF: their equations as slow loops over five nodes, and torch-geometric's layers."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from medley.models.base import Recommender
from medley.testing import content_of, drawn, leaky_relu, parameters_of, softmax, with_99_where_missing
from medley.types import Inputs, Interactions

USERS, ITEMS, DIM = range(2), range(3), 4
NEIGHBOURS = {0: [2, 3], 1: [3, 4], 2: [0], 3: [0, 1], 4: [1]}  # nodes: users 0, 1, items 2, 3, 4
build = partial(drawn, dim=DIM)
leaky = partial(leaky_relu, slope=0.2)


@pytest.fixture
def crossed(five_nodes: Inputs) -> Inputs:
    """The five nodes, but both users have seen item 1, and user 1 item 2, which lacks the acoustic modality."""
    user, item = np.array([0, 0, 1, 1], "i4"), np.array([0, 1, 1, 2], "i4")
    return Inputs(Interactions(user, item, num_users=2, num_items=3), five_nodes.features)


@pytest.fixture
def lonely(five_nodes: Inputs) -> Inputs:
    """The five nodes; user 1 and item 2 have no interaction."""
    user, item = np.array([0, 0], "i4"), np.array([0, 1], "i4")
    return Inputs(Interactions(user, item, num_users=2, num_items=3), five_nodes.features)


def nodes_of(model: Recommender) -> np.ndarray:
    """Returns the final vectors of users and items in one table."""
    with torch.no_grad():
        return torch.cat(model()).double().numpy()


def inputs_of_layer_1(w: dict[str, np.ndarray], inputs: Inputs) -> list[np.ndarray]:
    return [*w["user"], *(content_of(w, "content", inputs, i) for i in ITEMS)]


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.exp(x) - 1)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("aggregation", ["mean", "max"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_graphsage_algorithm_1(crossed: Inputs, num_layers: int, aggregation: str, normalise: bool):
    options = {"num_layers": num_layers, "aggregation": aggregation, "normalise": normalise}
    model = build("graphsage", crossed, **options)
    w = parameters_of(model)
    h = inputs_of_layer_1(w, crossed)
    for k in range(num_layers):
        new = []
        for v in NEIGHBOURS:
            if aggregation == "mean":
                n = np.mean([h[j] for j in NEIGHBOURS[v]], axis=0)
            else:
                W, b = w[f"W_pool.{k}.weight"], w[f"W_pool.{k}.bias"]
                n = np.max([np.maximum(W @ h[j] + b, 0) for j in NEIGHBOURS[v]], axis=0)  # eq. 3
            x = w[f"W.{k}.weight"] @ np.concatenate([h[v], n])
            x = np.maximum(x, 0) if k < num_layers - 1 else x
            new.append(x / np.linalg.norm(x) if normalise else x)
        h = new
    assert np.allclose(nodes_of(model), h, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_gat_equations_1_to_6(crossed: Inputs, num_layers: int, num_heads: int):
    model = build("gat", crossed, num_layers=num_layers, num_heads=num_heads)
    w = parameters_of(model)
    h = inputs_of_layer_1(w, crossed)
    for layer in range(num_layers):
        new = []
        for v, neighbours in NEIGHBOURS.items():
            heads = []
            for k in range(num_heads):
                W, a = w[f"layers.{layer}.W.{k}.weight"], w[f"layers.{layer}.a.{k}"].ravel()
                around = [v, *neighbours]
                e = np.array([leaky(a @ np.concatenate([W @ h[v], W @ h[j]])) for j in around])  # eq. 1
                alpha = softmax(e)  # eq. 2, 3
                heads.append(sum(share * (W @ h[j]) for share, j in zip(alpha, around, strict=True)))
            last = layer == num_layers - 1
            new.append(np.mean(heads, axis=0) if last else elu(np.concatenate(heads)))  # eq. 6 or 4, 5
        h = new
    assert np.allclose(nodes_of(model), h, atol=1e-5, rtol=1e-5)


def ngcf_layers(inputs: Inputs, w: dict[str, np.ndarray], num_layers: int) -> np.ndarray:
    """Equations 5, 6 and 9 without dropout."""
    e = [*w["user"], *(w["item"][i] + content_of(w, "content", inputs, i) for i in ITEMS)]
    layers = [e]
    for layer in range(num_layers):
        W1, W2 = w[f"W1.{layer}.weight"], w[f"W2.{layer}.weight"]
        e = []
        for v, before in enumerate(layers[-1]):
            total = W1 @ before
            for j in NEIGHBOURS[v]:
                p = 1 / np.sqrt(len(NEIGHBOURS[v]) * len(NEIGHBOURS[j]))
                total = total + p * (W1 @ layers[-1][j] + W2 @ (layers[-1][j] * before))
            e.append(leaky(total))
        layers.append(e)
    return np.concatenate(layers, axis=1)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_ngcf_equations_5_6_and_9(crossed: Inputs, num_layers: int):
    model = build("ngcf", crossed, num_layers=num_layers)
    assert np.allclose(nodes_of(model), ngcf_layers(crossed, parameters_of(model), num_layers), rtol=1e-4, atol=1e-4)


def test_ngcf_drops_whole_messages_and_only_while_training(crossed: Inputs):
    model = build("ngcf", crossed, num_layers=1, dropout=0.5)
    w = parameters_of(model)
    e = [*w["user"], *(w["item"][i] + content_of(w, "content", crossed, i) for i in ITEMS)]
    W1, W2 = w["W1.0.weight"], w["W2.0.weight"]
    matched = {v: set() for v in NEIGHBOURS}
    model.train()
    torch.manual_seed(0)
    for _ in range(60):
        for v, vector in enumerate(nodes_of(model)[:, DIM:]):
            possible = {}
            for kept in range(2 ** len(NEIGHBOURS[v])):
                total = W1 @ e[v]
                for bit, j in enumerate(NEIGHBOURS[v]):
                    if kept >> bit & 1:  # twice the weight, because half of the messages are dropped
                        p = 2 / np.sqrt(len(NEIGHBOURS[v]) * len(NEIGHBOURS[j]))
                        total = total + p * (W1 @ e[j] + W2 @ (e[j] * e[v]))
                possible[kept] = leaky(total)
            matches = [kept for kept, x in possible.items() if np.allclose(x, vector, rtol=1e-4, atol=1e-4)]
            assert len(matches) == 1
            matched[v].add(matches[0])
    assert all(len(matched[v]) == 2 ** len(NEIGHBOURS[v]) for v in NEIGHBOURS)
    assert np.array_equal(nodes_of(model.eval()), nodes_of(build("ngcf", crossed, num_layers=1, dropout=0.0)))


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_lrgccf_smooths_with_self_loops_and_concatenates_its_layers(crossed: Inputs, num_layers: int):
    model = build("lrgccf", crossed, num_layers=num_layers)
    w = parameters_of(model)
    layers = [[*w["e0_user"], *w["e0_item"]]]
    for _ in range(num_layers):
        degree = {v: len(around) + 1 for v, around in NEIGHBOURS.items()}
        layers.append(
            [
                sum(layers[-1][j] / np.sqrt(degree[v] * degree[j]) for j in [v, *around])
                for v, around in NEIGHBOURS.items()
            ]
        )
    assert np.allclose(nodes_of(model), np.concatenate(layers, axis=1), atol=1e-5)


def test_each_layer_of_lrgccf_is_a_part_of_the_score(crossed: Inputs):
    model = build("lrgccf", crossed, num_layers=2)
    user, item = nodes_of(model)[:2], nodes_of(model)[2:]
    with torch.no_grad():
        parts = model.contributions(torch.tensor([0, 1]), torch.tensor([[0, 2], [1, 0]]))
    assert list(parts) == ["layer 0", "layer 1", "layer 2"]
    for k, part in enumerate(parts.values()):
        of_layer = slice(k * DIM, (k + 1) * DIM)
        assert part[0, 1].item() == pytest.approx(user[0, of_layer] @ item[2, of_layer], abs=1e-4)
        assert part[1, 0].item() == pytest.approx(user[1, of_layer] @ item[1, of_layer], abs=1e-4)


def test_attention_to_items_is_the_last_layers_mean_over_the_heads(crossed: Inputs):
    model = build("gat", crossed, num_layers=1, num_heads=2)
    w = parameters_of(model)
    h = inputs_of_layer_1(w, crossed)
    alphas = []
    for k in range(2):
        W, a = w[f"layers.0.W.{k}.weight"], w[f"layers.0.a.{k}"].ravel()
        e = np.array([leaky(a @ np.concatenate([W @ h[1], W @ h[j]])) for j in [1, 3, 4]])
        alphas.append(softmax(e))
    alpha = np.mean(alphas, axis=0)
    (insight,) = model.about_user(1)
    assert insight.kind == "items"
    assert dict(insight.weights) == pytest.approx({1: alpha[1], 2: alpha[2]}, abs=1e-5)
    assert list(insight.weights.values()) == sorted(insight.weights.values(), reverse=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [("graphsage", {}), ("graphsage", {"aggregation": "max"}), ("gat", {}), ("ngcf", {}), ("lrgccf", {})],
)
def test_nodes_without_interactions_have_finite_vectors_and_gradients(lonely: Inputs, name: str, options: dict):
    model = build(name, lonely, **options)
    assert np.isfinite(nodes_of(model)).all()
    torch.cat(model()).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert model.about_user(1) == []


@pytest.mark.parametrize("name", ["graphsage", "gat", "ngcf"])
def test_values_stored_for_missing_features_never_matter(crossed: Inputs, name: str):
    expected = nodes_of(build(name, crossed))
    assert np.array_equal(nodes_of(build(name, with_99_where_missing(crossed))), expected)


def test_dropout_of_gat_is_drawn_only_while_training(crossed: Inputs):
    model, without = build("gat", crossed, dropout=0.5), build("gat", crossed)
    assert np.array_equal(nodes_of(model), nodes_of(without))
    model.train()
    assert not np.allclose(nodes_of(model), nodes_of(model))


def test_gat_refuses_heads_that_do_not_divide_its_vectors(crossed: Inputs):
    with pytest.raises(ValueError, match=r"'dim' of gat: expected a multiple of num_heads \(3\), got 4"):
        build("gat", crossed, num_heads=3)
    with pytest.raises(ValueError, match="'num_layers' of gat: expected 1 or more"):
        build("gat", crossed, num_layers=0)


# ---- torch-geometric, where it is installed: the same layers on one graph of users and items ----


def edge_index_of(inputs: Inputs) -> Tensor:
    """(2, 2n): both directions of every interaction, items after users."""
    user = torch.from_numpy(inputs.train.user).long()
    item = torch.from_numpy(inputs.train.item).long() + inputs.train.num_users
    return torch.stack([torch.cat([user, item]), torch.cat([item, user])])


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_graphsage_equals_torch_geometrics(checkerboard: Inputs, aggregation: str):
    pyg = pytest.importorskip("torch_geometric.nn")
    model = build("graphsage", checkerboard, aggregation=aggregation)
    options = {"aggr": aggregation, "project": aggregation == "max", "bias": False, "normalize": True}
    x = torch.cat([model.user, model.content()])
    for k, W in enumerate(model.W):
        layer = pyg.SAGEConv(DIM, DIM, **options)
        weights = {"lin_r.weight": W.weight[:, :DIM], "lin_l.weight": W.weight[:, DIM:]}
        if aggregation == "max":
            weights |= {"lin.weight": model.W_pool[k].weight, "lin.bias": model.W_pool[k].bias}
        layer.load_state_dict(weights)
        if k > 0:  # torch-geometric has the activation outside, and so after the normalisation
            x = torch.nn.functional.normalize(x.relu())
        x = layer(x, edge_index_of(checkerboard))
    assert torch.allclose(torch.cat(model()), x, atol=1e-5)


def test_gat_equals_torch_geometrics(checkerboard: Inputs):
    pyg = pytest.importorskip("torch_geometric.nn")
    model = build("gat", checkerboard, num_heads=2)
    x = torch.cat([model.user, model.content()])
    for k, ours in enumerate(model.layers):
        last = k == len(model.layers) - 1
        layer = pyg.GATConv(DIM, ours.W[0].out_features, heads=2, concat=not last, negative_slope=0.2, bias=False)
        a = torch.stack(list(ours.a))  # (K, 2, dim_head)
        weights = {
            "lin.weight": torch.cat([W.weight for W in ours.W]),
            "att_dst": a[None, :, 0],
            "att_src": a[None, :, 1],
        }
        layer.load_state_dict(weights)
        x = layer(x, edge_index_of(checkerboard))
        x = x if last else torch.nn.functional.elu(x)
    assert torch.allclose(torch.cat(model()), x, rtol=1e-4, atol=1e-4)


def test_lrgccf_equals_torch_geometrics_simple_graph_convolution(checkerboard: Inputs):
    pyg = pytest.importorskip("torch_geometric.nn")
    model = build("lrgccf", checkerboard, num_layers=3)
    e0 = torch.cat([model.e0_user, model.e0_item])
    layers = [e0]
    for k in range(1, 4):
        layer = pyg.SGConv(DIM, DIM, K=k, bias=False)
        torch.nn.init.eye_(layer.lin.weight)
        layers.append(layer(e0, edge_index_of(checkerboard)))
    assert torch.allclose(torch.cat(model()), torch.cat(layers, dim=1), atol=1e-5)


def test_lightgcn_equals_torch_geometrics(checkerboard: Inputs):
    pyg = pytest.importorskip("torch_geometric.nn")
    model = build("lightgcn", checkerboard, num_layers=3)
    layers = [torch.cat([model.e0_user, model.e0_item])]
    for _ in range(3):
        layers.append(pyg.LGConv()(layers[-1], edge_index_of(checkerboard)))
    assert torch.allclose(torch.cat(model()), torch.stack(layers).mean(dim=0), atol=1e-5)
