"""The contract of a model as checks, and the tools to test its equations by hand. Needs no test framework.

    from medley.testing import check_model

    def test_my_model():
        check_model("mypkg.mymodel:Mine")

`check_model` checks what every model promises. Whether a model computes the equations of its paper needs another test:
`drawn` builds the model on `five_nodes()` with parameters far from zero, `parameters_of` returns these parameters, slow
loops over SEEN compute the paper's scores from the parameters, and `scores_of` says what the model computes.

Shapes: U users, I items, d dimensions, n rows.
"""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medley.errors import InputError
from medley.models.base import Insight, Recommender
from medley.models.build import build, check_options, describe
from medley.models.registry import find, name_of
from medley.scoring.blocks import score_blocks
from medley.scoring.top_k import top_k
from medley.training.sampling import TripletSampler
from medley.types import Features, Inputs, Interactions, ItemToItem, Neighbours, Triplets

Model = str | type[Recommender]  # a name, an import path or a class, as `medley.models.find` takes them
Options = Mapping[str, Any]

SEEN = {0: [0, 1], 1: [2]}  # user -> items, in `five_nodes`
SEEN_BY = {0: [0], 1: [0], 2: [1]}  # item -> users, in `five_nodes`
EDGES = [(u, i) for u, items in SEEN.items() for i in items]
BATCH = Triplets(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([2, 0, 2]))
DIM = 3  # of the vectors that `drawn` draws

SMALL_DIM = 8
NUM_STEPS, LEARNING_RATE = 80, 0.02  # enough for every model to learn the checkerboard
LEARNED = 0.9  # share of recommended items of the user's colour; about 0.25 by chance

# ---- inputs ----


def five_nodes() -> Inputs:
    """Two users and three items; item 2 lacks the acoustic modality, and is the only item of user 1.

    user 0: item 1, then item 0          user 1: item 2
    """
    rng = np.random.default_rng(5)
    user, item, time = np.array([0, 0, 1], "i4"), np.array([0, 1, 2], "i4"), np.array([2.0, 1.0, 1.0])
    train = Interactions(user, item, num_users=2, num_items=3, time=time)
    visual, acoustic = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(3, 2)).astype("f4")
    acoustic[2] = 0
    return Inputs(
        train,
        {
            "visual": Features(visual, np.ones(3, dtype=bool)),
            "acoustic": Features(acoustic, np.array([True, True, False])),
        },
    )


def checkerboard() -> Inputs:
    """24 users and 32 items of two colours; every user has seen three quarters of the items of one colour, no others.

    The features of three modalities hold the colour, with noise. Item 31 has no interaction, item 3 lacks a modality.
    """
    rng = np.random.default_rng(0)
    num_users, num_items = 24, 32
    user_colour, item_colour = np.arange(num_users) % 2, np.arange(num_items) % 2
    seen = (user_colour[:, None] == item_colour) & (
        (np.arange(num_users)[:, None] // 2 + np.arange(num_items) // 2) % 4 > 0
    )
    seen[:, num_items - 1] = False
    user, item = np.nonzero(seen)
    time = np.random.default_rng(1).permutation(len(user))
    train = Interactions(user.astype("i4"), item.astype("i4"), num_users, num_items, time)
    colour = np.where(item_colour[:, None] == 0, 1.0, -1.0)
    features = {}
    for name, dim in (("visual", 6), ("acoustic", 3), ("mood", 4)):
        values = (colour + 0.3 * rng.normal(size=(num_items, dim))).astype("f4")
        present = np.ones(num_items, dtype=bool)
        if name == "mood":
            present[3], values[3] = False, 0
        features[name] = Features(values, present)
    return Inputs(train, features)


def with_99_where_missing(inputs: Inputs) -> Inputs:
    """Returns the inputs with 99 in the feature rows of items that lack the modality; no model may read these rows."""
    values = {m: np.where(f.present[:, None], f.values, 99) for m, f in inputs.features.items()}
    return inputs._replace(features={m: f._replace(values=values[m]) for m, f in inputs.features.items()})


# ---- what a model computes ----


def drawn(model: Model, inputs: Inputs, *, std: float = 1.0, seed: int = 0, **options: Any) -> Recommender:
    """Builds a model with parameters from N(0, std^2), so that biases and stand-ins for missing features count too.

    Args:
        model: a name, an import path or a class.
        inputs: e.g. `five_nodes()`.
        std: standard deviation of the parameters.
        seed: of the parameters.
        options: options of the model, over dim = DIM and feature_scale = "none" if the model has these options.
    """
    known = describe(model)["options"]
    defaults: dict[str, Any] = {"dim": DIM, "feature_scale": "none"}
    built = build(model, inputs, **{key: value for key, value in defaults.items() if key in known} | options)
    generator = torch.Generator().manual_seed(seed)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return built


def parameters_of(model: Recommender) -> dict[str, np.ndarray]:
    """Returns the parameters by name, in double precision. Slow loops call this mapping w."""
    return {name: value.detach().double().numpy() for name, value in model.named_parameters()}


def vectors_of(model: Recommender) -> tuple[np.ndarray, np.ndarray]:
    """Returns the user and item vectors of forward(), without changing between training and evaluation mode."""
    with torch.no_grad():
        user, item = model()
    return user.double().numpy(), item.double().numpy()


def scores_of(model: Recommender) -> np.ndarray:
    """Returns the scores of all users for all items (U, I), as the evaluator and the service compute them."""
    users, scores = np.arange(model.num_users), np.empty((model.num_users, model.num_items))
    with torch.no_grad():
        for rows, block in score_blocks(model.eval().scorer(), users, model.num_items, memory_mb=64):
            scores[rows] = block.double().cpu().numpy()
    return scores


# ---- steps that papers share, as slow loops ----


def unit(x: np.ndarray) -> np.ndarray:
    """Scales vectors to length one."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: Any) -> np.ndarray:
    """Returns the softmax over the last axis."""
    odds = np.exp(x)
    return odds / odds.sum(axis=-1, keepdims=True)


def leaky_relu(x: np.ndarray, slope: float = 0.01) -> np.ndarray:
    """Multiplies negative numbers by the slope."""
    return np.where(x > 0, x, slope * x)


def content_of(w: Mapping[str, np.ndarray], layer: str, inputs: Inputs, i: int) -> np.ndarray:
    """Returns the output of a `medley.nn.modalities.Content` for item i, without b.

    Args:
        w: parameters by name.
        layer: name of the `Content` in the model.
        inputs: inputs of the model.
        i: row of the item.
    """
    return sum(
        (
            w[f"{layer}.W.{m}.weight"] @ f.values[i] if f.present[i] else w[f"{layer}.absent.{m}"][0]
            for m, f in inputs.features.items()
        ),
        np.zeros(1),
    )


def nearest(features: Features, i: int, k: int) -> dict[int, float]:
    """Returns the k items most similar to item i, including i, with their cosine; empty if i has no features."""
    if not features.present[i]:
        return {}
    x = features.values.astype(float)
    cosine = {int(j): float(unit(x[i]) @ unit(x[j])) for j in np.flatnonzero(features.present)}
    return dict(sorted(cosine.items(), key=lambda pair: -pair[1])[:k])


def edge_weights(edges: Collection[tuple[int, int]] = EDGES) -> dict[tuple[int, int], float]:
    """Returns 1 / sqrt(|N_u| |N_i|) of each edge (user, item)."""
    users, items = zip(*edges, strict=True)
    return {(u, i): 1 / np.sqrt(users.count(u) * items.count(i)) for u, i in edges}


def lightgcn(
    user: np.ndarray, item: np.ndarray, num_layers: int, edges: Collection[tuple[int, int]] = EDGES
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over the layers of LightGCN (eq. 3, 4), of users (U, d) and of items (I, d)."""
    users, items = [user], [item]
    for _ in range(num_layers):
        user, item = np.zeros_like(user), np.zeros_like(item)
        for (u, i), weight in edge_weights(edges).items():
            user[u] += weight * items[-1][i]
            item[i] += weight * users[-1][u]
        users, items = [*users, user], [*items, item]
    return np.mean(users, axis=0), np.mean(items, axis=0)


def bpr(scores: np.ndarray, batch: Triplets = BATCH) -> float:
    """Returns the mean of -ln sigmoid(s_ui - s_uj) over the triplets, from scores (U, I)."""
    return float(np.mean([np.log1p(np.exp(scores[u, j] - scores[u, i])) for u, i, j in torch.stack(batch).T.tolist()]))


# ---- the contract: one function per promise, which is its docstring ----


def has_a_summary(model: Model, options: Options) -> None:
    """The class has a docstring: what the model is, then when to choose it."""
    found, described = find(model), describe(model)
    form = 'write one sentence that ends with a full stop, then a paragraph that starts with "Choose it "'
    _require(vars(found).get("__doc__"), f"the class {found.__name__} has no docstring: {form}")
    _require(described["summary"].endswith("."), f"the docstring of {found.__name__} has no summary: {form}")
    _require(described["choice"].endswith("."), f"the docstring of {found.__name__} does not say when: {form}")


def cites_its_paper(model: Model, options: Options) -> None:
    """The first paragraph of the file cites the paper of a trained model, with a link."""
    has_link = "http" in describe(model)["paper"]
    _require(has_link or not _is_trained(model), "the first paragraph of the file's docstring has no link")


def has_typed_options_with_defaults(model: Model, options: Options) -> None:
    """The constructor takes the inputs and keyword-only options, each with a type and a default."""
    _, *parameters = inspect.signature(find(model)).parameters.values()
    for option in parameters:
        _require(option.kind is option.KEYWORD_ONLY, f"{option.name} is not keyword-only: put it behind a *")
        _require(option.annotation is not option.empty, f"option {option.name} has no type")
        _require(option.default is not option.empty, f"option {option.name} has no default")
    defaults = check_options(model, {})
    try:
        _require(check_options(model, defaults) == defaults, "the defaults of the options are not of their types")
    except InputError as error:
        raise AssertionError(f"a default is refused: {error}") from None


def refuses_negative_counts(model: Model, options: Options) -> None:
    """Options named dim, k or num_... refuse -1: the range is part of the type (`medley.models.base.Count`)."""
    counts = [o for o in describe(model)["options"] if o.startswith("num_") or o in ("dim", "k")]
    for option in counts:
        try:
            check_options(model, {option: -1})
        except InputError as error:
            _require("or more, got -1" in str(error), f"the error for {option}=-1 does not say the range: {error}")
        else:
            raise AssertionError(f"{option}=-1 is accepted: give the option the type Count or Layers")


def keeps_its_tensors_as_parameters_and_buffers(model: Model, options: Options) -> None:
    """Every tensor is a parameter or a buffer, so that the whole model moves between devices."""
    for path, module in _small(model, checkerboard(), options).named_modules():
        for key, value in vars(module).items():
            inside = key not in ("_parameters", "_buffers", "_modules") and _holds_a_tensor(value)
            _require(not inside, f"{path or 'the model'}.{key} holds a plain tensor: register a parameter or a buffer")


def follows_its_seed(model: Model, options: Options) -> None:
    """The seed decides the parameters, and the caller's random state stays as it is."""
    state = torch.get_rng_state()
    first, again, other = (_small(model, checkerboard(), options, seed=seed) for seed in (3, 3, 4))
    _require(torch.equal(torch.get_rng_state(), state), "building the model changes torch's random state")
    _require(_same(scores_of(first), scores_of(again)), "the same seed gives other scores")
    if _is_trained(model):
        _require(not _same(scores_of(first), scores_of(other)), "another seed gives the same scores")


def restores_its_scores_from_saved_weights(model: Model, options: Options) -> None:
    """The state dict of one model gives another model the same scores."""
    saved, fresh = (_small(model, checkerboard(), options, seed=seed) for seed in (1, 2))
    fresh.load_state_dict({key: value.clone() for key, value in saved.state_dict().items()})
    _require(_same(scores_of(fresh), scores_of(saved)), "the scores differ after load_state_dict")


def scores_all_users_and_items(model: Model, options: Options) -> None:
    """Scores are finite for all users and items, also for those without interactions or modalities."""
    inputs = checkerboard()
    inputs = inputs._replace(train=replace(inputs.train, num_users=25))
    scores = scores_of(_small(model, inputs, options))
    _require(np.isfinite(scores[:24]).all(), "some scores are NaN or infinite")
    _require(np.isfinite(scores).all(), "scores of a user without interactions are NaN or infinite")


def scores_without_chance(model: Model, options: Options) -> None:
    """Nothing is drawn at random in evaluation mode: neither in the scores nor in the loss."""
    inputs = checkerboard()
    built = _small(model, inputs, options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = scores_of(built)
        state = torch.get_rng_state()
        _require(_same(scores_of(built), first), "the scores of two calls differ")
        if _is_trained(model):
            with torch.no_grad():
                built.eval().loss(_batch_of(inputs))
        _require(torch.equal(torch.get_rng_state(), state), "random numbers are drawn in evaluation mode")


def accepts_one_modality_of_any_name(model: Model, options: Options) -> None:
    """One modality of any name is enough."""
    inputs = checkerboard()
    inputs = inputs._replace(features={"smell-of-it": inputs.features["visual"]})
    own = {key: value for key, value in options.items() if key != "modalities"}
    _require(np.isfinite(scores_of(_small(model, inputs, own))).all(), "some scores are NaN or infinite")


def has_parts_that_sum_to_the_score(model: Model, options: Options) -> None:
    """The parts of the scores, if the model has any, sum to the scores of all users for all items."""
    inputs = checkerboard()
    built = _small(model, inputs, options)
    scores = scores_of(built)
    with torch.no_grad():
        parts = {name: (user @ item.T).numpy() for name, (user, item) in built.parts().items()}
        scorer = built.scorer()
    if isinstance(scorer, ItemToItem):
        seen = inputs.train.csr().toarray()
        parts = {name: seen @ _dense(weight) for name, weight in scorer.weights.items()}
    if parts:
        distance = np.abs(sum(parts.values()) - scores).max() / max(1, np.abs(scores).max())
        _require(distance < 1e-4, f"the sum of the parts {', '.join(parts)} differs from the scores by {distance:.2g}")


def leaves_nothing_behind(model: Model, options: Options) -> None:
    """forward(), parts(), scorer(), loss() leave the model and the batch as they were; the loss is a finite scalar."""
    inputs = checkerboard()
    built, batch = _small(model, inputs, options), _batch_of(inputs)
    calls: dict[str, Callable[[], Any]] = {"parts()": built.parts, "scorer()": built.scorer}
    if type(built).forward is not Recommender.forward:
        calls["forward()"] = built.forward
    if _is_trained(model):
        built.train()
        calls["loss()"] = lambda: _loss_of(built, batch)
        before = copy.deepcopy(batch)
        first, second = _loss_of(built, batch), _loss_of(built, batch)
        _require(first.shape == (), f"the loss has the shape {tuple(first.shape)}")
        _require(first.isfinite(), "the loss is NaN or infinite")
        _require(torch.equal(first, second), "the loss of the same batch under the same seed differs")
        _require(all(map(torch.equal, batch, before)), "loss() changes the batch")
    for name, call in calls.items():
        state = {key: value.clone() for key, value in _buffers_and_parameters(built)}
        attributes = dict(_attributes(built))
        call()
        now = dict(_attributes(built))
        changed = [key for key in now.keys() | attributes.keys() if not _is_same(now.get(key), attributes.get(key))]
        changed += [key for key, value in _buffers_and_parameters(built) if not torch.equal(value, state[key])]
        _require(not changed, f"{name} changes {', '.join(sorted(changed))}")


def trains_every_parameter(model: Model, options: Options) -> None:
    """The loss has a finite gradient, not 0 everywhere, for every parameter."""
    if not _is_trained(model):
        return
    inputs = checkerboard()
    built = _small(model, inputs, options)
    _loss_of(built, _batch_of(inputs)).backward()
    for name, parameter in built.named_parameters():
        if parameter.grad is None:
            raise AssertionError(f"the parameter {name} is not part of the loss")
        _require(parameter.grad.isfinite().all(), f"the gradient of {name} is NaN or infinite")
        _require(parameter.grad.abs().sum() > 0, f"the parameter {name} has no influence on the loss")


def resumes_from_its_parameters(model: Model, options: Options) -> None:
    """start_epoch() depends on the parameters and on torch's generator alone, so that a resumed run stays the same."""
    if not _is_trained(model):
        return
    inputs = checkerboard()
    trained, resumed = (_small(model, inputs, options, seed=seed) for seed in (1, 2))
    _train(trained, inputs, num_steps=3)
    resumed.load_state_dict({key: value.clone() for key, value in trained.state_dict().items()})
    losses = []
    for each in (trained, resumed):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(7)
            each.train().start_epoch()
            losses.append(_loss_of(each, _batch_of(inputs)))
    _require(torch.equal(*losses), "the loss of a resumed model differs after start_epoch()")


def learns_the_checkerboard(model: Model, options: Options) -> None:
    """After 80 steps of training, users are recommended unseen items of their own colour."""
    if not _is_trained(model):
        return
    inputs = checkerboard()
    built, users = _small(model, inputs, options), np.arange(inputs.train.num_users)
    _train(built, inputs, num_steps=NUM_STEPS)
    with torch.no_grad():
        items, _ = top_k(built.eval().scorer(), users, inputs.train.csr(), 3)
    share = (items % 2 == users[:, None] % 2).mean()
    _require(
        share > LEARNED, f"{share:.0%} of the recommended items have the user's colour, not more than {LEARNED:.0%}"
    )


def ignores_the_numbering_of_items(model: Model, options: Options) -> None:
    """Renumbered items get the same scores and insights: nothing in the order of users is read as if of items."""
    given = checkerboard()
    num_items = given.train.num_items - 1  # 31, so that parameters with a row per item are known by their length
    new = np.random.default_rng(0).permutation(num_items)
    old = np.argsort(new)  # new row -> old row
    features = {m: Features(f.values[:num_items], f.present[:num_items]) for m, f in given.features.items()}
    renumbered = {m: Features(f.values[old], f.present[old]) for m, f in features.items()}
    train = replace(given.train, num_items=num_items)
    first = _small(model, Inputs(train, features), options)
    second = _small(model, Inputs(replace(train, item=new[train.item].astype("i4")), renumbered), options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for x, y in zip(first.parameters(), second.parameters(), strict=True):
            x.normal_(generator=generator)
            y.copy_(x[old] if x.dim() and len(x) == num_items else x)
    close = np.allclose(scores_of(second), scores_of(first)[:, old], rtol=1e-3, atol=1e-3)
    _require(close, "the scores change with the numbering of the items")
    for row in range(4):
        insights = [*first.about_user(row), *first.about_item(row)]
        others = [*second.about_user(row), *second.about_item(int(new[row]))]
        for insight, other in zip(insights, others, strict=True):
            _require(
                _agree(insight, other, new), f"the insight {insight.topic!r} changes with the numbering of the items"
            )


CHECKS: tuple[Callable[[Model, Options], None], ...] = (
    has_typed_options_with_defaults,  # first, for the others read the options
    has_a_summary,
    cites_its_paper,
    refuses_negative_counts,
    keeps_its_tensors_as_parameters_and_buffers,
    scores_all_users_and_items,
    scores_without_chance,
    follows_its_seed,
    restores_its_scores_from_saved_weights,
    accepts_one_modality_of_any_name,
    has_parts_that_sum_to_the_score,
    leaves_nothing_behind,
    trains_every_parameter,
    resumes_from_its_parameters,
    learns_the_checkerboard,
    ignores_the_numbering_of_items,
)


def check_model(
    model: Model, *, options: Options | None = None, checks: Collection[Callable[[Model, Options], None]] = CHECKS
) -> None:
    """Checks that a model keeps the contract of `medley.models.Recommender`, in about a second.

    Args:
        model: a name, an import path (`mypkg.mymodel:Mine`) or a class.
        options: options with which to build the model; dim is 8 by default.
        checks: the promises to check, out of CHECKS.

    Raises:
        AssertionError: a promise is broken; the message says which, and how.
        InputError: there is no such model.
    """
    __tracebackhide__ = True  # a failing test shows the sentence, not this function
    find(model)
    for check in checks:
        try:
            check(model, dict(options or {}))
        except Exception as error:
            promise = (inspect.getdoc(check) or check.__name__).split("\n\n")[0]
            found = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name_of(model)} breaks a promise: {found}\nThe promise: {promise}") from error


# ---- what the checks share ----


def _require(condition: object, sentence: str) -> None:
    """Raises AssertionError unless the condition holds; `assert` would vanish under `python -O`."""
    if not condition:
        raise AssertionError(sentence)


def _is_trained(model: Model) -> bool:
    return find(model).loss is not Recommender.loss


def _small(model: Model, inputs: Inputs, options: Options, *, seed: int = 0) -> Recommender:
    dim = {"dim": SMALL_DIM} if "dim" in describe(model)["options"] else {}
    return build(model, inputs, seed=seed, **(dim | dict(options)))


def _batch_of(inputs: Inputs) -> Triplets:
    """Every interaction once, with negatives under a fixed seed."""
    return TripletSampler(inputs.train, torch.Generator().manual_seed(0)).epoch()


def _loss_of(model: Recommender, batch: Triplets, *, seed: int = 0) -> Tensor:
    """The loss in training mode; the seed decides what is drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model.train().loss(batch)


def _train(model: Recommender, inputs: Inputs, *, num_steps: int) -> None:
    """Trains on all interactions at once, one step per epoch."""
    sampler = TripletSampler(inputs.train, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(num_steps):
        with torch.no_grad():
            model.train().start_epoch()
        optimizer.zero_grad()
        _loss_of(model, sampler.epoch(), seed=step).backward()
        optimizer.step()


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second)


def _dense(weight: Tensor | Neighbours) -> np.ndarray:
    """(I, I)"""
    if isinstance(weight, Tensor):
        return weight.numpy()
    matrix = np.zeros((len(weight.index), len(weight.index)))
    for row, (index, value) in enumerate(zip(weight.index.tolist(), weight.value.tolist(), strict=True)):
        for column, number in zip(index, value, strict=True):
            matrix[row, column] += number
    return matrix


def _holds_a_tensor(value: Any) -> bool:
    """Whether the value is a tensor, or a list, tuple or mapping with a tensor."""
    value = list(value.values()) if isinstance(value, Mapping) else value
    return any(isinstance(each, Tensor) for each in (value if isinstance(value, list | tuple) else [value]))


def _attributes(model: Recommender) -> Iterator[tuple[str, Any]]:
    """Path of each attribute of each module -> its value; containers as copies."""
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            is_container = isinstance(value, dict | list | set)
            yield ".".join(filter(None, (path, key))), copy.copy(value) if is_container else value


def _is_same(now: Any, before: Any) -> bool:
    """Whether two attributes are the same object, or containers of the same objects."""
    if isinstance(now, dict) and isinstance(before, dict):
        return now.keys() == before.keys() and all(now[key] is before[key] for key in now)
    if isinstance(now, list) and isinstance(before, list):
        return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))
    return now is before or (isinstance(now, set) and now == before)


def _buffers_and_parameters(model: Recommender) -> list[tuple[str, Tensor]]:
    return [*model.named_buffers(), *model.named_parameters()]


def _agree(insight: Insight, other: Insight, new: np.ndarray) -> bool:
    """Whether two insights say the same, the second about renumbered items (old row -> `new` row)."""
    found: dict[Any, float] = dict(other.weights.items())
    expected = {int(new[key]) if insight.kind == "items" else key: weight for key, weight in insight.weights.items()}
    both = expected.keys() & found.keys()  # among equal weights, any may be the first few
    pairs = [*zip(found.values(), expected.values(), strict=True), *((found[key], expected[key]) for key in both)]
    return all(np.isclose(a, b, rtol=1e-3, atol=1e-3) for a, b in pairs)
