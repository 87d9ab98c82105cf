"""A loss that computes the rows of its batch alone equals the loss over whole tables, and so do all gradients."""

from collections.abc import Callable

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


LOSSES: dict[str, Callable[[Recommender, Triplets], Tensor]] = {"vbpr": vbpr, "duif": duif, "bm3": bm3}


def without_some_features(inputs: Inputs) -> Inputs:
    """Item 2 lacks the first modality, item 31 the second."""
    features = dict(inputs.features)
    for m, item in zip(features, (2, 31), strict=False):
        present = features[m].present.copy()
        present[item] = False
        features[m] = features[m]._replace(present=present)
    return inputs._replace(features=features)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_are_those_of_whole_tables(checkerboard: Inputs, name: str):
    model = models.build(name, without_some_features(checkerboard), dim=8, reg=0.1).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    losses, gradients = [], []
    for loss_of in (type(model).loss, LOSSES[name]):
        model.zero_grad()
        torch.manual_seed(2)  # of dropout
        loss = loss_of(model, BATCH)
        loss.backward()
        losses.append(loss.item())
        gradients.append({key: x.grad for key, x in model.named_parameters() if x.requires_grad})
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for key, of_whole in gradients[1].items():
        assert gradients[0][key].shape == of_whole.shape and of_whole.abs().sum() > 0
        assert torch.allclose(gradients[0][key], of_whole, rtol=1e-4, atol=1e-6), key
