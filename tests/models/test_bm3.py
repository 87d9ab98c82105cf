"""BM3's equations once more, as slow loops over a graph of five nodes; its views, options and gaps."""

import numpy as np
import pytest
import torch

from medley import models
from medley.testing import BATCH, DIM, drawn, lightgcn, parameters_of, scores_of, unit
from medley.types import Triplets


def propagated(w: dict, num_layers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """h_u and h_i"""
    user, item = lightgcn(w["e_user"], w["e_item"], num_layers)
    return user, item + w["e_item"]


def predicted(w: dict, h: np.ndarray) -> np.ndarray:
    return w["predictor.weight"] @ h + w["predictor.bias"]


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return 1 - unit(x) @ unit(y)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_scores_are_those_of_a_slow_loop(five_nodes, num_layers):
    model = drawn("bm3", five_nodes, num_layers=num_layers)
    w = parameters_of(model)
    h_u, h_i = propagated(w, num_layers)
    expected = [[predicted(w, h_u[u]) @ predicted(w, h_i[i]) for i in range(3)] for u in range(2)]
    assert np.allclose(scores_of(model), expected, atol=1e-4)


@pytest.mark.parametrize(("content_weight", "reg"), [(2.0, 0.1), (0.5, 0.0), (0.0, 1.0)])
def test_the_loss_is_that_of_a_slow_loop(five_nodes, content_weight, reg):
    model = drawn("bm3", five_nodes, num_layers=2, dropout=0.0, content_weight=content_weight, reg=reg)
    w = parameters_of(model)
    h_u, h_i = propagated(w)
    rec, norms, content = [], [], {m: [] for m in five_nodes.features}
    for u, i, _ in torch.stack(BATCH).T.tolist():
        rec.append(distance(predicted(w, h_u[u]), h_i[i]) + distance(predicted(w, h_i[i]), h_u[u]))
        norms.append(h_u[u] @ h_u[u] + h_i[i] @ h_i[i])
        for m, features in five_nodes.features.items():
            if features.present[i] and content_weight:
                h_m = w[f"content.{m}.project.weight"] @ features.values[i] + w[f"content.{m}.project.bias"]
                content[m].append(distance(predicted(w, h_m), h_i[i]) + distance(predicted(w, h_m), h_m))
    expected = np.mean(rec) + reg / 2 * np.mean(norms)
    expected += content_weight * sum(np.mean(of_m) for of_m in content.values() if of_m)
    assert model.loss(BATCH).item() == pytest.approx(expected, abs=1e-5)


def test_negatives_are_not_read(checkerboard):
    model = models.build("bm3", checkerboard, dim=DIM).eval()
    other = BATCH._replace(neg=torch.tensor([7, 8, 9]))
    assert torch.equal(model.loss(BATCH), model.loss(other))


def test_no_gradient_goes_through_the_views_that_are_taken_as_given(five_nodes):
    model = drawn("bm3", five_nodes, num_layers=0, dropout=0.0, content_weight=0.0, reg=0.0)
    batch = Triplets(*(part[:1] for part in BATCH))  # user 0, item 0
    model.loss(batch).backward()
    e_u = model.get_parameter("e_user").detach()[0].clone().requires_grad_()
    view_i = 2 * model.get_parameter("e_item").detach()[0]  # layer 0 and the residual
    torch.nn.CosineEmbeddingLoss()(model.predictor(e_u)[None], view_i[None], torch.ones(1)).backward()
    assert torch.allclose(model.get_parameter("e_user").grad[0], e_u.grad, atol=1e-6)


def test_views_are_dropped_out_in_training_only(checkerboard):
    model = models.build("bm3", checkerboard, dim=DIM, dropout=0.5)
    model.train()
    assert not torch.equal(model.loss(BATCH), model.loss(BATCH))
    model.eval()
    assert torch.equal(model.loss(BATCH), model.loss(BATCH))


def test_a_batch_in_which_no_item_has_a_modality_has_a_finite_loss(five_nodes):
    model = drawn("bm3", five_nodes, num_layers=2)
    model.loss(Triplets(*(part[1:2] for part in BATCH))).backward()  # item 2 lacks the acoustic modality
    assert model.get_parameter("content.acoustic.project.weight").grad.eq(0).all()
    assert model.get_parameter("content.visual.project.weight").grad.ne(0).any()


def test_without_content_weight_no_projection_is_learned(five_nodes):
    names = set(parameters_of(models.build("bm3", five_nodes, dim=DIM, content_weight=0.0)))
    assert names == {"e_user", "e_item", "predictor.weight", "predictor.bias"}


def test_dropout_out_of_range_is_refused(five_nodes):
    with pytest.raises(ValueError, match=r"option 'dropout' of bm3: expected less than 1, got 1\.5"):
        models.build("bm3", five_nodes, dropout=1.5)
