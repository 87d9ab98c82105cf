"""Pictures of one trained model: maps of users and items before and after training, learned weights, intents.

Which pictures a model has follows from its insights (`about_user`) and parts; no picture is drawn from figures that the
model does not have.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.models import Recommender
from medley.models.huign import HUIGN, all_modalities
from medley.report.figures.maps import cooccurring_users, embedding_map, intents, modality_weights
from medley.report.figures.style import save
from medley.report.study_figures import Shown
from medley.report.tsne import FEWEST, tsne
from medley.runs import Run
from medley.serving.explain import margins_by_part
from medley.types import Embeddings

NUM_USERS, NUM_ITEMS = 1_000, 40  # on a map of users; of each user on a map of items
NUM_CHOSEN = 6  # users whose items are shown: as many colours as are told apart
WEIGHTS, NEIGHBOURS = "weights of the modalities", "users with the same items"  # topics of DualGNN's insights
NUM_INTENTS, NUM_TYPICAL = 6, 4


def draw(
    run: Run, data: Dataset | None = None, *, out: str | Path, formats: Sequence[str] = (".svg", ".pdf"), seed: int = 0
) -> list[Path]:
    """Writes all pictures that the model of a run has.

    Args:
        run: a trained run.
        data: the data set; by default the data set of the run.
        out: the folder of the pictures.
        formats: endings of the files: .svg, .pdf, .png.
        seed: of the choice of users and of t-SNE.

    Returns:
        The paths of the files.

    Raises:
        InputError: the model has no trained vectors, or an unknown ending.
        MissingExtraError: matplotlib or scikit-learn is not installed.
    """
    data = run.dataset() if data is None else data
    origin = origin_of(run, seed)
    paths = []
    for shown in pictures(run, data, seed=seed):
        for ending in formats:
            path = Path(out) / f"{shown.name}{ending}"
            paths.append(save(shown.figure, path, description=f"{shown.description}. {origin}"))
    return paths


def origin_of(run: Run, seed: int = 0) -> str:
    """Returns where the pictures of a run come from: command, seeds, fingerprint, hashes of the data."""
    record = run.record
    parts = ", ".join(f"{name} {digest[:12]}" for name, digest in record.data.parts.items())
    return (
        f"medley pictures {run.folder.name} --seed {seed} · {record.recipe.model}, seed {record.recipe.seed}, epoch "
        f"{record.best_epoch or 0} · recipe {record.recipe.fingerprint[:16]} · data {record.data.name}: {parts}"
    )


def pictures(run: Run, data: Dataset, *, seed: int = 0) -> list[Shown]:
    """Draws all pictures that the model of a run has; arguments as in `draw`."""
    after = run.model(data)
    recipe = run.record.recipe
    inputs = data.inputs(recipe.settings.train_on)
    before = models.build(recipe.model, inputs, seed=recipe.seed, **recipe.options)
    old, new = _vectors(before), _vectors(after)
    if old is None or new is None:
        expected = "a model with trained vectors of users and items"
        raise InputError("pictures of a run", file=run.folder, expected=expected, got=recipe.model)
    shown = []
    for one in (_map_of_users(after, data, old, new, seed), _map_of_items(data, old, new, seed)):
        shown += [] if one is None else [one]
    for one in (_weights(after, data, seed), _neighbours(after, data, new, seed), _intents(after, data)):
        shown += [] if one is None else [one]
    return shown


def _vectors(model: Recommender) -> Embeddings | None:
    """Returns the vectors of users and items; None for a model without vectors, or without parameters to train."""
    with torch.no_grad():
        score = model.eval().scorer()
    if not isinstance(score, Embeddings) or not any(True for _ in model.parameters()):
        return None
    return Embeddings(score.user.detach(), score.item.detach())


def _sample(num: int, size: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(num)[:size])


def _map_of_users(model: Recommender, data: Dataset, old: Embeddings, new: Embeddings, seed: int) -> Shown | None:
    """Users, coloured by dominant part of the score if it has parts, else by how many items they have seen."""
    rows = _sample(len(new.user), NUM_USERS, seed)
    if len(rows) < FEWEST:
        return None
    with torch.no_grad():
        margins = margins_by_part(model, data.inputs(model.learned_from), rows)
    if len(margins) > 1:
        names = list(margins)
        table = np.nan_to_num(np.stack([margins[name] for name in names], axis=1), nan=-np.inf)
        group, meaning = table.argmax(axis=1), "the part of the score that sets their items apart most"
    else:
        activity = data.train.items_per_user()[rows]
        group = np.searchsorted(np.quantile(activity, [1 / 3, 2 / 3]), activity)
        names, meaning = ["few items", "some items", "many items"], "how many items they have seen in train"
    maps = {when: tsne(of.user[rows].numpy(), seed=seed) for when, of in (("before", old), ("after", new))}
    drawn = embedding_map({f"{when} training": xy for when, xy in maps.items()}, group, names)
    counts = ", ".join(f"{name} {int((group == place).sum()):,}" for place, name in enumerate(names))
    caption = f"t-SNE of the vectors of {len(rows):,} users, coloured by {meaning}"
    return Shown("users", drawn, caption, f"{caption}: {counts}")


def _map_of_items(data: Dataset, old: Embeddings, new: Embeddings, seed: int) -> Shown | None:
    """Held-out items of a few users, coloured by user, and the users as stars among them."""
    split, log = ("test", data.test) if len(data.test) else ("train", data.train)
    counts = np.bincount(log.user, minlength=log.num_users)
    users = np.argsort(-counts, kind="stable")[:NUM_CHOSEN]
    chosen = {int(user): set(log.item[log.user == user].tolist()) for user in users if counts[user]}
    times = np.bincount([item for items in chosen.values() for item in items], minlength=log.num_items)
    own = {user: sorted(item for item in items if times[item] == 1)[:NUM_ITEMS] for user, items in chosen.items()}
    own = {user: items for user, items in own.items() if items}
    items = [item for mine in own.values() for item in mine]
    if len(items) + len(own) < FEWEST or len(own) < 2:
        return None
    group = [place for place, mine in enumerate(own.values()) for _ in mine] + list(range(len(own)))
    star = [False] * len(items) + [True] * len(own)
    panels = {}
    for title, of in (("before training", old), ("after training", new)):
        panels[title] = tsne(torch.cat([of.item[items], of.user[list(own)]]).numpy(), seed=seed)
    names = [f"user {data.users.raw_id(user)}" for user in own]
    drawn = embedding_map(panels, group, names, star=star)
    seen = "which the model did not know" if split == "test" else "which it was trained on"
    caption = f"t-SNE of {len(own)} users (stars) and the {split} items of each alone, {seen}"
    return Shown("items", drawn, caption, caption)


def _weights(model: Recommender, data: Dataset, seed: int) -> Shown | None:
    """The weights of the modalities of users, for a model that learns them."""
    rows = _sample(data.train.num_users, NUM_USERS, seed)
    found = [weights for row in rows if (weights := _insight(model, int(row), WEIGHTS))]
    if not found:
        return None
    names = sorted(found[0])
    table = np.array([[weights[name] for name in names] for weights in found])
    heaviest = np.bincount(table.argmax(axis=1), minlength=len(names)) / len(table)
    words = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, heaviest, strict=True))
    caption = f"Weights of the modalities of {len(table):,} users"
    return Shown("weights", modality_weights(table, names), caption, f"{caption}. Heaviest: {words}")


def _neighbours(model: Recommender, data: Dataset, new: Embeddings, seed: int) -> Shown | None:
    """The users whose vectors a few users aggregate, on the map of users after training."""
    rows = [int(row) for row in _sample(data.train.num_users, NUM_USERS, seed)]
    linked = {row: others for row in rows if (others := _insight(model, row, NEIGHBOURS))}
    if not linked or len(rows) < FEWEST:
        return None
    active = data.train.items_per_user()
    centres = sorted(linked, key=lambda row: -int(active[row]))[:3]
    wanted = sorted({*rows, *(other for row in centres for other in linked[row])})
    place = {row: position for position, row in enumerate(wanted)}
    xy = tsne(new.user[wanted].numpy(), seed=seed)
    others = [{place[other]: weight for other, weight in linked[row].items()} for row in centres]
    names = [f"user {data.users.raw_id(row)}" for row in centres]
    drawn = cooccurring_users(xy, [place[row] for row in centres], others, names)
    near = [_nearness(xy, place[row], list(mine)) for row, mine in zip(centres, others, strict=True)]
    caption = "Users (stars) and the users with the same items whose vectors they aggregate, on a map of all users"
    words = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, near, strict=True))
    return Shown("co-occurring", drawn, caption, f"{caption}. Users on the map who are farther away: {words}")


def _nearness(xy: np.ndarray, centre: int, others: list[int]) -> float:
    """Share of all users on the map who are farther from a user than the mean distance to some others."""
    distance = np.linalg.norm(xy - xy[centre], axis=1)
    return float((distance > distance[others].mean()).mean())


def _intents(model: Recommender, data: Dataset) -> Shown | None:
    """HUIGN's intents of level 1 that items use most, with the items that belong to them most."""
    if not isinstance(model, HUIGN):
        return None
    with torch.no_grad():
        shares = all_modalities({m: hierarchy() for m, hierarchy in model.hierarchies.items()}).numpy()
    shares = shares[:, : model.levels[0]]
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)  # mean over the item's modalities
    chosen = np.argsort(-shares.sum(axis=0), kind="stable")[:NUM_INTENTS]
    typical: list[int] = []
    for intent in chosen:  # an item stands in one place
        order = [int(item) for item in np.argsort(-shares[:, intent], kind="stable") if int(item) not in typical]
        typical += order[:NUM_TYPICAL]
    titles = [data.title(item) or data.items.raw_id(item) for item in typical]
    names = [f"{intent + 1}" for intent in chosen]
    words = "; ".join(
        f"intent {name}: " + ", ".join(titles[place * NUM_TYPICAL : (place + 1) * NUM_TYPICAL])
        for place, name in enumerate(names)
    )
    caption = (
        f"The {len(names)} intents of level 1 that items belong to most, of {model.levels[0]}, with the "
        f"{NUM_TYPICAL} items that belong to each most; mean over the item's modalities"
    )
    return Shown(
        "intents", intents(shares[np.ix_(np.array(typical), chosen)], titles, names), caption, f"{caption}: {words}"
    )


def _insight(model: Recommender, user: int, topic: str) -> dict:
    """Returns the weights of the model's insight about a user with this topic; empty without such an insight."""
    with torch.no_grad():
        return next((dict(one.weights) for one in model.about_user(user) if one.topic == topic), {})
