"""STAR-GCN's blocks and objective as slow loops; masks, removed pairs and wrong options."""

from functools import partial

import numpy as np
import pytest
import torch

from medley.models.inputs import choose
from medley.testing import (
    bpr,
    content_of,
    drawn,
    leaky_relu,
    parameters_of,
    scores_of,
    vectors_of,
    with_99_where_missing,
)
from medley.types import Features, Inputs, Interactions, Triplets

SEEN = {0: [0, 1, 2], 1: [0, 1], 2: [2, 3], 3: [1, 2, 3], 4: []}
BATCH = Triplets(torch.tensor([0, 3, 0, 2]), torch.tensor([0, 2, 0, 3]), torch.tensor([4, 0, 3, 0]))  # a pair twice
ALL = {(u, i) for u, items in SEEN.items() for i in items}
build = partial(drawn, "stargcn", std=0.7)
act = partial(leaky_relu, slope=0.1)


@pytest.fixture
def inputs() -> Inputs:
    """Item 2 lacks the acoustic modality; item 4 and user 4 have no interactions."""
    rng = np.random.default_rng(1)
    pairs = np.array(sorted(ALL), "i4")
    train = Interactions(pairs[:, 0], pairs[:, 1], num_users=5, num_items=5)
    return Inputs(
        train,
        {
            "visual": Features(rng.normal(size=(5, 4)).astype("f4"), np.ones(5, dtype=bool)),
            "acoustic": Features(rng.normal(size=(5, 2)).astype("f4"), np.arange(5) != 2),
        },
    )


def blocks_of(w: dict[str, np.ndarray], inputs: Inputs, pairs: set, num_blocks: int, user, item) -> list[tuple]:
    """Returns the recovered users and items, and the scores, of every block."""
    z = np.array([act(w["W_f.b"] + content_of(w, "W_f", inputs, i)) for i in range(5)])
    of_user = {u: [i for i in range(5) if (u, i) in pairs] for u in range(5)}
    of_item = {i: [u for u in range(5) if (u, i) in pairs] for i in range(5)}
    results = []
    for b in range(num_blocks):

        def matrix(name, b=b):
            return w[f"blocks.{b}.{name}.weight"]

        def bias(name, b=b):
            return w[f"blocks.{b}.{name}.bias"]

        def encode(side, vectors, mine, theirs):
            total = np.zeros(3)
            for j in mine:
                total += matrix(f"{side}.W") @ vectors[j] / np.sqrt(len(mine) * len(theirs[j]))
            return act(matrix(f"{side}.W1") @ act(total) + bias(f"{side}.W1"))

        def decode(side, h):
            return matrix(f"{side}.W3") @ act(matrix(f"{side}.W2") @ h + bias(f"{side}.W2")) + bias(f"{side}.W3")

        with_z = np.concatenate([item, z], axis=1)
        h_user = [encode("user", with_z, of_user[u], of_item) for u in range(5)]
        h_item = [encode("item", user, of_item[i], of_user) for i in range(5)]
        scores = [[(matrix("Q_u") @ h_u + bias("Q_u")) @ (matrix("Q_i") @ h_i) for h_i in h_item] for h_u in h_user]
        user = np.array([decode("user", h) for h in h_user])
        item = np.array([decode("item", h) for h in h_item])
        results.append((user, item, np.array(scores)))
    return results


@pytest.mark.parametrize("modalities", [["visual", "acoustic"], ["acoustic"]])
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_the_last_block_scores(inputs: Inputs, num_blocks: int, modalities: list[str]):
    inputs = choose(inputs, modalities)
    model = build(inputs, num_blocks=num_blocks)
    w = parameters_of(model)
    expected = blocks_of(w, inputs, ALL, num_blocks, w["x_user"], w["x_item"])[-1][2]
    assert np.allclose(scores_of(model), expected, atol=1e-3)


@pytest.mark.parametrize("remove_batch", [True, False])
@pytest.mark.parametrize("reconstruction", [0.0, 0.5])
def test_the_loss_sums_blocks_without_masked_vectors_and_without_the_batch(
    inputs: Inputs, remove_batch: bool, reconstruction: float
):
    model = build(inputs, mask_rate=0.6, remove_batch=remove_batch, reconstruction=reconstruction, reg=0.1).train()
    torch.manual_seed(0)
    masked_user, masked_item = torch.rand(5, 1).numpy()[:, 0] < 0.6, torch.rand(5, 1).numpy()[:, 0] < 0.6
    assert 0 < masked_user.sum() < 5 and 0 < masked_item.sum() < 5
    w = parameters_of(model)
    user, item = w["x_user"].copy(), w["x_item"].copy()
    user[masked_user], item[masked_item] = 0, 0
    removed = set(zip(BATCH.user.tolist(), BATCH.pos.tolist(), strict=True)) if remove_batch else set()
    loss = 0.0
    for u, i, j in torch.stack(BATCH).T.tolist():
        loss += 0.1 * sum((row**2).sum() for row in (w["x_user"][u], w["x_item"][i], w["x_item"][j])) / 2 / 4
    for rebuilt_user, rebuilt_item, s in blocks_of(w, inputs, ALL - removed, 2, user, item):
        loss += bpr(s, BATCH)
        for rebuilt, true, masked in (
            (rebuilt_user, w["x_user"], masked_user),
            (rebuilt_item, w["x_item"], masked_item),
        ):
            loss += reconstruction * np.mean([((rebuilt[v] - true[v]) ** 2).sum() for v in np.nonzero(masked)[0]])
    torch.manual_seed(0)
    assert model.loss(BATCH).item() == pytest.approx(loss, rel=1e-4)


def test_a_batch_of_more_than_half_of_the_graph_leaves_it_whole(inputs: Inputs):
    user, item = (torch.tensor(side) for side in zip(*sorted(ALL), strict=True))
    batch = Triplets(user, item, torch.full_like(item, 4))
    whole, reduced = (build(inputs, mask_rate=0.0, remove_batch=remove) for remove in (False, True))
    assert torch.equal(whole.loss(batch), reduced.loss(batch))
    few = Triplets(*(rows[:5] for rows in batch))
    assert not torch.equal(whole.loss(few), reduced.loss(few))


def test_masks_and_dropout_are_for_training_alone(inputs: Inputs):
    for options in ({"mask_rate": 0.5, "dropout": 0.0}, {"mask_rate": 0.0, "dropout": 0.5}):
        model = build(inputs, **options)
        assert len({model.train().loss(BATCH).item() for _ in range(5)}) > 1
        assert len({model.eval().loss(BATCH).item() for _ in range(5)}) == 1


def test_values_stored_for_missing_features_never_matter(inputs: Inputs):
    first, second = vectors_of(build(inputs)), vectors_of(build(with_99_where_missing(inputs)))
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("num_blocks", 0, "1 or more, got 0"),
        ("mask_rate", 1.0, "less than 1, got 1"),
        ("dropout", -0.1, "0 or more, got -0.1"),
    ],
)
def test_options_out_of_range_are_refused(inputs: Inputs, option: str, value: float, expected: str):
    with pytest.raises(ValueError, match=rf"'{option}' of stargcn: expected {expected}"):
        build(inputs, **{option: value})
