"""A loss that computes the rows of its batch alone equals the loss over whole tables, and so do all gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medley import models
from medley.models import Recommender
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.types import Embeddings, Inputs, Triplets

# users and items that repeat, an item that is positive and negative, and users and items that no triplet reads
BATCH = Triplets(torch.tensor([3, 0, 3, 7, 0]), torch.tensor([1, 2, 5, 1, 2]), torch.tensor([31, 5, 0, 3, 31]))


def vbpr(model, batch: Triplets) -> Tensor:
    rows = Embeddings(torch.cat([model.p, model.theta], dim=1), torch.cat([model.q, model.beta], dim=1))
    matrices = l2_of_parameters([*model.E.parameters(), *model.beta_content.parameters()])
    return bpr_loss(model(), batch) + model.reg * (l2_of_batch(rows, batch) + matrices)


def duif(model, batch: Triplets) -> Tensor:
    return bpr_loss(model(), batch) + model.reg * l2_of_batch(model(), batch)


def bm3(model, batch: Triplets) -> Tensor:
    """Cosine by cosine, one per triplet, as in the paper; random numbers in the order of the model."""

    def far(x: Tensor, y: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(model.predictor(x), y, dim=1)

    def view(x: Tensor) -> Tensor:
        return F.dropout(x.detach(), model.dropout, model.training)

    h = model._propagated()
    h_u, h_i = h.user[batch.user], h.item[batch.pos]
    view_u, view_i = view(h_u), view(h_i)
    loss = (far(h_u, view_i) + far(h_i, view_u)).mean()
    for content in model.content.values():
        h_m, has = content.project(content.f.values[batch.pos]), content.f.present[batch.pos, 0]
        distance = far(h_m, view_i) + far(h_m, view(h_m))
        loss = loss + model.content_weight * (distance * has).sum() / has.sum().clamp(min=1)
    return loss + model.reg * (h_u.square().sum() + h_i.square().sum()) / (2 * len(batch.user))


def dualgnn(model, batch: Triplets) -> Tensor:
    tables = [*model.u.values(), *([] if model.alpha is None else [model.alpha])]
    matrices = [*model.project.parameters(), *([] if model.W_m is None else model.W_m.parameters())]
    rows = sum(table[batch.user].square().sum() for table in tables) / (2 * len(batch.user))
    return bpr_loss(model(), batch) + model.reg * (rows + l2_of_parameters(matrices))


def ngcf(model, batch: Triplets) -> Tensor:
    l2 = l2_of_batch(model._inputs(), batch) + l2_of_parameters([*model.W1.parameters(), *model.W2.parameters()])
    return bpr_loss(model(), batch) + model.reg * l2


def graphsage(model, batch: Triplets) -> Tensor:
    l2 = l2_of_batch(model._inputs(), batch) + l2_of_parameters([*model.W.parameters(), *model.W_pool.parameters()])
    return bpr_loss(model(), batch) + model.reg * l2


def lrgccf(model, batch: Triplets) -> Tensor:
    return bpr_loss(model(), batch) + model.reg * l2_of_batch(Embeddings(model.e0_user, model.e0_item), batch)


def stargcn(model, batch: Triplets) -> Tensor:
    """Every node is decoded and scored in every block; a mask chooses the nodes to reconstruct."""
    x = Embeddings(model.x_user, model.x_item)
    masked = [torch.rand(len(side), 1) < model.mask_rate for side in x]
    graph = model._graph(batch.user, batch.pos)
    user, item = (side.masked_fill(gone, 0) for side, gone in zip(x, masked, strict=True))
    z, loss = F.leaky_relu(model.W_f(), 0.1), model.reg * l2_of_batch(x, batch)
    for block in model.blocks:
        h = block(model.dropout(user), model.dropout(torch.cat([item, z], dim=1)), graph)
        loss = loss + bpr_loss(block.score(h), batch)
        user, item = block.decode(h)
        for rebuilt, true, gone in zip((user, item), x, masked, strict=True):
            squares = (rebuilt - true).square().sum(dim=1, keepdim=True) * gone
            loss = loss + model.reconstruction * squares.sum() / gone.sum().clamp(min=1)
    return loss


OLD_FORMS: list[tuple[Callable[[Recommender, Triplets], Tensor], dict[str, Any]]] = [
    (vbpr, {}),
    (duif, {}),
    (bm3, {}),
    (bm3, {"content_weight": 0.0, "dropout": 0.0}),
    *((dualgnn, {"num_user_layers": num_layers}) for num_layers in (0, 1, 2)),
    (dualgnn, {"construction": "concat", "aggregation": "mean"}),
    *((ngcf, {"num_layers": num_layers}) for num_layers in (0, 1, 3)),
    *((graphsage, {"num_layers": num_layers}) for num_layers in (1, 2)),
    (graphsage, {"aggregation": "max", "normalise": False}),
    *((lrgccf, {"num_layers": num_layers}) for num_layers in (0, 2)),
    *((stargcn, {"num_blocks": num_blocks, "mask_rate": 0.3}) for num_blocks in (1, 3)),
    (stargcn, {"dropout": 0.4, "mask_rate": 0.0}),
]


def without_some_features(inputs: Inputs) -> Inputs:
    """Item 2 lacks the first modality, item 31 the second."""
    features = dict(inputs.features)
    for m, item in zip(features, (2, 31), strict=False):
        present = features[m].present.copy()
        present[item] = False
        features[m] = features[m]._replace(present=present)
    return inputs._replace(features=features)


@pytest.mark.parametrize(("old_form", "options"), OLD_FORMS)
def test_loss_and_gradients_are_those_of_whole_tables(checkerboard: Inputs, old_form: Any, options: dict[str, Any]):
    model = models.build(old_form.__name__, without_some_features(checkerboard), dim=8, reg=0.1, **options).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    losses, gradients = [], []
    for loss_of in (type(model).loss, old_form):
        model.zero_grad()
        torch.manual_seed(2)  # of dropout and masks
        loss = loss_of(model, BATCH)
        loss.backward()
        losses.append(loss.item())
        gradients.append({key: x.grad for key, x in model.named_parameters()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert sum(bool(x.any()) for x in gradients[1].values() if x is not None) > 1
    for key, of_whole in gradients[1].items():
        if of_whole is None:  # the last block of STAR-GCN without masked nodes
            assert gradients[0][key] is None or not gradients[0][key].any(), key
        else:
            assert torch.allclose(gradients[0][key], of_whole, rtol=1e-4, atol=1e-6), key
