"""What every model promises, asked of every model there is."""

import copy
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from by_hand import scores_of
from torch import Tensor

from medley import models
from medley.errors import InputError
from medley.models import MODELS
from medley.scoring.top_k import top_k
from medley.training.sampling import TripletSampler
from medley.types import Features, Inputs, Triplets

TRAINED = [name for name, model in MODELS.items() if model.loss is not models.Recommender.loss]


def small(name: str, inputs: Inputs, seed: int = 0) -> models.Recommender:
    options = {"dim": 8} if "dim" in models.describe(name)["options"] else {}
    return models.build(name, inputs, seed=seed, **options)


def batch_of(inputs: Inputs, seed: int = 0) -> Triplets:
    return TripletSampler(inputs.train, torch.Generator().manual_seed(seed)).epoch()


def loss_of(model: models.Recommender, batch: Triplets, seed: int = 0) -> Tensor:
    """The loss in training mode; the seed decides what is drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model.train().loss(batch)


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_reaches_every_parameter_with_a_finite_gradient(name, checkerboard):
    model = small(name, checkerboard)
    loss_of(model, batch_of(checkerboard)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{parameter_name} is not part of the loss"
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, f"{parameter_name} has no influence on the loss"


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_restore_the_same_scores(name, checkerboard):
    trained, fresh = small(name, checkerboard, seed=1), small(name, checkerboard, seed=2)
    fresh.load_state_dict({key: value.clone() for key, value in trained.state_dict().items()})
    assert np.array_equal(scores_of(trained), scores_of(fresh))


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_leaves_the_batch_and_the_model_as_they_were(name, checkerboard):
    model, batch = small(name, checkerboard), batch_of(checkerboard)
    before, attributes = copy.deepcopy(batch), set(vars(model))
    first, second = loss_of(model, batch), loss_of(model, batch)
    assert all(torch.equal(now, then) for now, then in zip(batch, before, strict=True))
    assert set(vars(model)) == attributes
    assert first.shape == () and torch.equal(first, second)


@pytest.mark.parametrize("name", MODELS)
def test_only_parameters_and_buffers_are_tensors_so_all_of_it_moves_between_devices(name, checkerboard):
    for module in small(name, checkerboard).modules():
        for key, value in vars(module).items():
            assert not isinstance(value, Tensor), f"{type(module).__name__}.{key} is a plain tensor"


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_decides_the_parameters_and_the_callers_random_state_is_left_alone(name, checkerboard):
    state = torch.get_rng_state()
    first, again = small(name, checkerboard, seed=3), small(name, checkerboard, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(scores_of(first), scores_of(again))
    if name in TRAINED:
        assert not np.array_equal(scores_of(first), scores_of(small(name, checkerboard, seed=4)))


@pytest.mark.parametrize("name", TRAINED)
def test_it_learns_the_checkerboard(name, checkerboard):
    model, train = small(name, checkerboard), checkerboard.train
    sampler = TripletSampler(train, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(80):
        with torch.no_grad():
            model.train().start_epoch()
        optimizer.zero_grad()
        loss_of(model, sampler.epoch(), seed=epoch).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        items, _ = top_k(model.scorer(), np.arange(train.num_users), train.csr(), 3)
    same_colour = items % 2 == np.arange(train.num_users)[:, None] % 2
    assert same_colour.mean() > 0.9  # by chance: about a quarter of the unseen items have the user's colour


@pytest.mark.parametrize("name", MODELS)
def test_items_without_interactions_or_modalities_have_finite_scores(name, checkerboard):
    scores = scores_of(small(name, checkerboard))
    assert scores.shape == (checkerboard.train.num_users, checkerboard.train.num_items)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", MODELS)
def test_one_modality_of_any_name_is_enough(name, checkerboard):
    inputs = Inputs(checkerboard.train, {"smell-of-it": checkerboard.features["visual"]})
    assert np.isfinite(scores_of(small(name, inputs))).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_numbering_of_items_does_not_matter(name, checkerboard):
    """Nothing that is in the order of users is read in that of items: on the five nodes the two are the same."""
    num_items = checkerboard.train.num_items - 1  # 31, which no option is; the last item has no interaction
    new = np.random.default_rng(0).permutation(num_items)
    old = np.argsort(new)  # new row -> old row
    given = {m: Features(f.values[:num_items], f.present[:num_items]) for m, f in checkerboard.features.items()}
    train = replace(checkerboard.train, num_items=num_items)
    renumbered = {m: Features(f.values[old], f.present[old]) for m, f in given.items()}
    first = small(name, Inputs(train, given))
    second = small(name, Inputs(replace(train, item=new[train.item].astype("i4")), renumbered))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for x, y in zip(first.parameters(), second.parameters(), strict=True):
            x.normal_(generator=generator)
            y.copy_(x[old] if len(x) == num_items else x)
    assert np.allclose(scores_of(second), scores_of(first)[:, old], rtol=1e-3, atol=1e-3)
    for row in range(4):
        told = [*first.about_user(row), *first.about_item(row)]
        again = [*second.about_user(row), *second.about_item(int(new[row]))]
        for insight, other in zip(told, again, strict=True):
            expected = {new[key] if insight.kind == "items" else key: w for key, w in insight.weights.items()}
            assert list(other.weights.values()) == pytest.approx(list(expected.values()), rel=1e-3, abs=1e-3)
            both = expected.keys() & other.weights.keys()  # of equals, who is among the first few may differ
            assert [other.weights[key] for key in both] == pytest.approx([expected[key] for key in both], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_contributions_sum_to_the_scores(name, checkerboard):
    model = small(name, checkerboard)
    users, items = torch.tensor([0, 5, 7]), torch.tensor([[1, 2], [3, 31], [0, 4]])
    with torch.no_grad():
        parts = model.contributions(users, items)
    if parts:
        total = torch.stack(list(parts.values())).sum(dim=0)
        assert np.allclose(total, scores_of(model)[users[:, None], items], atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_names_its_paper_and_every_option_has_a_type_and_a_default(name):
    model, described = MODELS[name], models.describe(name)
    assert described["summary"].endswith(".") and described["choice"].endswith(".")
    if name in TRAINED:
        assert "http" in described["paper"]
    options = list(inspect.signature(model).parameters.values())[1:]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert all(p.annotation is not p.empty for p in options)


@pytest.mark.parametrize("name", TRAINED)
def test_an_unknown_option_is_refused_with_the_known_ones(name, checkerboard):
    with pytest.raises(ValueError, match=r"'dimension' of .*its options: dim"):
        models.build(name, checkerboard, dimension=3)


COUNTS = [(name, o) for name in MODELS for o in models.describe(name)["options"] if o.startswith("num_") or o == "k"]


@pytest.mark.parametrize(("name", "option"), COUNTS)
def test_a_negative_count_is_refused(name, option, checkerboard):
    with pytest.raises(InputError, match=r"expected [01] or more, got -1"):
        models.build(name, checkerboard, **{option: -1})


@pytest.mark.parametrize("name", [name for name in models.MODELS if "dim" in models.check_options(name, {})])
def test_vectors_of_no_length_are_refused(name, checkerboard):
    least = 0 if name == "huign" else 1  # which has more than IDs
    with pytest.raises(InputError, match=rf"'dim' of {name}: got {least - 1}"):
        models.build(name, checkerboard, dim=least - 1)


def test_an_unknown_model_is_refused_with_the_known_ones(checkerboard):
    with pytest.raises(ValueError, match=r"expected popularity or mf .* got 'ncf'"):
        models.build("ncf", checkerboard)


def test_a_value_of_the_wrong_type_is_refused(checkerboard):
    with pytest.raises(ValueError, match=r"'num_layers' of lightgcn.*'three'"):
        models.build("lightgcn", checkerboard, num_layers="three")
