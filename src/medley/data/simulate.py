"""Simulates a catalogue with planted tastes: data of any size whose truth is known.

    z_im ~ Zipf(cluster_skew)                    cluster of item i in modality m
    x_im = centroid[m, z_im] + feature_noise * N(0, 1)
    w_u  ~ Dirichlet(taste_concentration)        weight of each modality in the taste of user u
    p(i | u) = noise * pop_i / sum pop
             + (1 - noise) * sum_m w_um * 1[z_im liked by u] / L * pop_i / sum of pop in cluster z_im

Each user's items are drawn one after another from p without repetition, so the cost grows with the interactions and
never with users x items. docs/simulator.md explains the model, every option and the planted truth.

Shapes: U users, I items, M modalities, C = num_clusters, L = clusters_per_user, n interactions, d_m = dim of m.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.data.options import checked
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.modality_names import check_modality_name

BLOCK_VALUES = 2**22  # features are made and written this many values at a time: 16 MiB in float32
MAX_DRAWS = 2**20  # a round of redraws is at most this large, or as large as the number of missing interactions
MAX_ROUNDS = 30  # of draws, each of twice the size of the one before; possible shapes need fewer than 20
MAX_SHARE = 0.25  # of the catalogue: no user has more interactions
HELD_OUT = 0.1  # share of the interactions in validation, and again in test
FIRST_DAY, DAYS = 1_735_689_600, 90  # timestamps: seconds since 1970, from 1 January 2025 on

_WORDS = {
    "visual": "neon sunlit misty retro snowy painted golden tiny city beach kitchen forest garden studio street sky",
    "acoustic": "lo-fi jazz mellow synth folk live latin ambient beat piano guitar strings drums choir bass hum",
    "textual": "travel cooking style fitness pet gaming study craft tips diary challenge review story tricks news quiz",
}  # eight adjectives and eight nouns make 64 phrases

Share = Annotated[float, Field(ge=0, le=1)]
Skew = Annotated[float, Field(ge=0, le=5)]
ModalityName = Annotated[str, AfterValidator(check_modality_name)]


class SimulationSettings(BaseModel):
    """The shape of a simulated catalogue. Every field has an effect that docs/simulator.md describes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    num_users: PositiveInt
    num_items: PositiveInt
    num_interactions: PositiveInt
    modalities: dict[ModalityName, PositiveInt] = Field({"visual": 64, "acoustic": 32, "textual": 48}, min_length=1)
    num_clusters: int = Field(64, ge=1, le=10_000)  # of each modality
    clusters_per_user: PositiveInt = 3  # that a user likes in each modality
    taste_concentration: float = Field(0.5, ge=0.01, le=1000)  # near 0: one modality per user; large: equal weights
    cluster_skew: Skew = 0.5  # Zipf exponent of the clusters' sizes
    popularity_skew: Skew = 0.7  # Zipf exponent of the items' popularity
    activity_skew: Skew = 0.8  # sigma of the lognormal activity of users
    min_activity: int = Field(5, ge=2)  # interactions that every user has
    noise: Share = 0.1  # of the interactions by popularity alone
    feature_noise: float = Field(1.0, ge=0, le=100)  # standard deviation, where that of the centroids is 1
    missing: Share = 0.0  # of the items that lack each modality; every item has one
    cold_items: Share = 0.0  # of the items that occur only in validation and test
    dtype: Literal["float16", "float32"] = "float32"  # of the features on disk


def _shape(name: str, interactions: int, items: int, users: int, **dims: int) -> SimulationSettings:
    return SimulationSettings(
        name=name, num_users=users, num_items=items, num_interactions=interactions, modalities=dims, cold_items=0.05
    )


PRESETS: dict[str, SimulationSettings] = {
    "demo": SimulationSettings(
        name="demo", num_users=600, num_items=900, num_interactions=20_000, num_clusters=24, clusters_per_user=2,
        taste_concentration=0.3, popularity_skew=0.5, missing=0.1, cold_items=0.05,
    ),
    "tiktok": _shape("tiktok", 726_065, 76_085, 36_656, visual=128, acoustic=128, textual=128),  # MMGCN, table 1
    "kwai": _shape("kwai", 1_664_305, 329_510, 22_611, visual=2048, textual=128),
    "movielens": _shape("movielens", 1_239_508, 5_986, 55_485, visual=2048, acoustic=128, textual=100),
    "tiktok-ludp": _shape("tiktok-ludp", 1_493_532, 34_756, 18_855, visual=128, acoustic=256, textual=128),  # LUDP
    "movielens-ludp": _shape("movielens-ludp", 896_006, 10_698, 23_018, visual=2048, acoustic=256, textual=768),
    "kwai-huign": _shape("kwai-huign", 298_492, 86_483, 7_010, visual=2048),  # HUIGN
}  # fmt: skip


class Planted(NamedTuple):
    """The truth behind simulated data. Modalities in the order of the settings in the manifest's provenance."""

    user_weights: np.ndarray  # (U, M) float32, rows sum to 1
    user_clusters: np.ndarray  # (U, M, L) int16, distinct within a row
    item_clusters: np.ndarray  # (I, M) int16, -1 where the item lacks the modality
    item_popularity: np.ndarray  # (I,) float64, sums to 1
    cold: np.ndarray  # (I,) bool, items that are never in train


class _Shelves(NamedTuple):
    """The items of the M * C clusters, one shelf per cluster, and a last shelf with all items."""

    item: np.ndarray  # (K,)
    mass: np.ndarray  # (K + 1,) sum of the popularity of all items before
    start: np.ndarray  # (M * C + 2,) shelf x is item[start[x]:start[x + 1]]


def preset(name: str = "demo", **changes: Any) -> SimulationSettings:
    """Returns a named shape, with changes: `preset("kwai", num_users=1000, dtype="float16")`.

    Raises:
        InputError: the preset or an option is unknown, or a value is out of its range.
    """
    if name not in PRESETS:
        raise InputError("preset", expected=" or ".join(PRESETS), got=repr(name))
    return checked(SimulationSettings, PRESETS[name].model_dump() | changes, of="the simulator")


def planted(dataset: Dataset) -> Planted:
    """Reads the tastes, clusters and popularity that `simulate` planted.

    Raises:
        InputError: the data set was not simulated.
    """
    folder = dataset.folder / "planted"
    if not folder.is_dir():
        remedy = "give a data set made by simulate"
        raise InputError("not a simulated data set: nothing is planted", file=dataset.folder, remedy=remedy)
    return Planted(*(np.load(folder / f"{name}.npy") for name in Planted._fields))


def simulate(
    out: str | Path, *, settings: SimulationSettings, seed: int, features: bool = True, overwrite: bool = False
) -> Dataset:
    """Simulates a data set with planted tastes and writes it; the same settings and seed give the same bytes.

    Memory grows with users, items and interactions; features are written block by block.

    Args:
        out: the folder to make.
        settings: the shape of the data; see `PRESETS` and `preset`.
        seed: of all randomness, 0 or larger.
        features: write the features; without them the data set has no modality, and all else is the same.
        overwrite: replace a data set in `out`.

    Raises:
        InputError: `out` exists, or the settings contradict each other.
    """
    if not isinstance(settings, SimulationSettings):
        got, remedy = type(settings).__name__, 'medley.preset("demo", num_users=1000) makes them'
        raise InputError("settings", expected="SimulationSettings", got=got, remedy=remedy)
    _check(settings, seed)
    world_rng, draw_rng, *feature_rngs = np.random.default_rng(seed).spawn(2 + len(settings.modalities))
    truth = _plant(settings, world_rng)
    users = pl.DataFrame({"user_id": _ids("u", settings.num_users)})
    with DatasetWriter(out, name=settings.name, overwrite=overwrite) as writer:
        writer.write_tables(users, _items(settings, truth), _log(settings, truth, draw_rng))
        for m, modality in enumerate(settings.modalities if features else ()):
            _write_features(writer, modality, truth.item_clusters[:, m], settings, seed, feature_rngs[m])
        writer.write_planted(truth._asdict())
        writer.finish(provenance={"source": "simulated", "seed": seed, "settings": settings.model_dump()})
    return Dataset(out)


def _check(s: SimulationSettings, seed: int) -> None:
    least, most = s.min_activity, _max_activity(s)
    if not s.num_users * least <= s.num_interactions <= s.num_users * most:
        bounds = f"{s.num_users * least:,} to {s.num_users * most:,} ({least:,} to {most:,} of each user)"
        remedy = f"change min_activity or a size; a user has at most {MAX_SHARE:.0%} of the items that are not cold"
        raise InputError("num_interactions", expected=bounds, got=f"{s.num_interactions:,}", remedy=remedy)
    if s.missing > (bound := 1 - 1 / len(s.modalities)):
        raise InputError("missing", expected=f"at most {bound:.3f}, so that every item has a modality", got=s.missing)
    if seed < 0:
        raise InputError("seed", expected="0 or larger", got=seed)


def _max_activity(s: SimulationSettings) -> int:
    return int(MAX_SHARE * round((1 - s.cold_items) * s.num_items))


def _zipf(count: int, exponent: float) -> np.ndarray:
    """Returns (count,) probabilities that fall with the rank."""
    weight = np.arange(1.0, count + 1) ** -exponent
    return weight / weight.sum()


def _plant(s: SimulationSettings, rng: np.random.Generator) -> Planted:
    num_modalities, size = len(s.modalities), _zipf(s.num_clusters, s.cluster_skew)  # (C,)
    cluster = rng.choice(s.num_clusters, p=size, size=(s.num_items, num_modalities)).astype(np.int16)  # (I, M)
    kept = rng.permutation(s.num_items) % num_modalities  # (I,) a modality that every item has
    for m in range(num_modalities):
        spare = np.flatnonzero(kept != m)
        cluster[rng.choice(spare, min(round(s.missing * s.num_items), len(spare)), replace=False), m] = -1
    cold = np.zeros(s.num_items, dtype=bool)
    cold[rng.choice(s.num_items, round(s.cold_items * s.num_items), replace=False)] = True

    liked = np.empty((s.num_users, num_modalities, s.clusters_per_user), dtype=np.int16)
    for m, modality in enumerate(s.modalities):
        filled = np.unique(cluster[~cold & (cluster[:, m] >= 0), m])  # clusters that hold items to learn from
        if len(filled) < s.clusters_per_user:
            wanted, remedy = (
                f"at least {s.clusters_per_user}",
                "lower clusters_per_user or raise num_clusters, num_items",
            )
            raise InputError(f"{modality} clusters with items", expected=wanted, got=len(filled), remedy=remedy)
        gumbel = rng.gumbel(size=(s.num_users, len(filled)))  # the L largest are L draws without replacement
        best = np.argpartition(-(np.log(size[filled]) + gumbel), s.clusters_per_user - 1)[:, : s.clusters_per_user]
        liked[:, m] = filled[best]
    weights = rng.dirichlet(np.full(num_modalities, s.taste_concentration), s.num_users).astype(np.float32)
    return Planted(weights, liked, cluster, rng.permutation(_zipf(s.num_items, s.popularity_skew)), cold)


def _log(s: SimulationSettings, truth: Planted, rng: np.random.Generator) -> pl.DataFrame:
    """Draws exactly num_interactions distinct pairs: user, item, split, timestamp; train comes first within a user."""
    activity = _activity(s, rng)
    num_held_out = round(HELD_OUT * s.num_interactions)  # in validation, and in test
    others = np.repeat(np.arange(s.num_users), activity - 1)  # one interaction of each user stays in train
    held_out = np.bincount(rng.choice(others, 2 * num_held_out, replace=False), minlength=s.num_users)
    empty = np.empty(0, dtype=np.int64)
    train = _draw(activity - held_out, empty, _shelves(s, truth, ~truth.cold), s, truth, rng)
    later = _draw(held_out, train, _shelves(s, truth, np.ones_like(truth.cold)), s, truth, rng)

    pair = np.concatenate([train, later])
    split = np.concatenate([np.zeros(len(train), dtype=int), 1 + rng.permutation(len(later)) % 2])
    order = np.lexsort((rng.random(len(pair)), split, pair // s.num_items))
    user, item = np.divmod(pair[order], s.num_items)
    seconds = rng.integers(DAYS * 86_400, size=len(user))
    seconds = seconds[np.lexsort((seconds, user))] + np.arange(len(user)) - np.searchsorted(user, user)  # no ties
    return pl.DataFrame(
        {"user": user, "item": item, "split": pl.Series(SPLITS).gather(split[order]), "timestamp": FIRST_DAY + seconds}
    )


def _activity(s: SimulationSettings, rng: np.random.Generator) -> np.ndarray:
    """Draws (U,) numbers of interactions: lognormal, within bounds, num_interactions in sum."""
    weight, most = rng.lognormal(sigma=s.activity_skew, size=s.num_users), _max_activity(s)
    activity = np.full(s.num_users, s.min_activity)
    while left := s.num_interactions - activity.sum():
        free = weight * (activity < most)
        activity = np.minimum(activity + rng.multinomial(left, free / free.sum()), most)
    return activity


def _shelves(s: SimulationSettings, truth: Planted, available: np.ndarray) -> _Shelves:
    shelf = np.arange(len(s.modalities)) * s.num_clusters + truth.item_clusters  # (I, M)
    item, m = np.nonzero(available[:, None] & (truth.item_clusters >= 0))
    everything = np.flatnonzero(available)
    shelf = np.concatenate([shelf[item, m], np.full(len(everything), len(s.modalities) * s.num_clusters)])
    item, order = np.concatenate([item, everything]), np.argsort(shelf, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(truth.item_popularity[item[order]])])
    return _Shelves(item[order], mass, np.searchsorted(shelf[order], np.arange(len(s.modalities) * s.num_clusters + 2)))


def _draw(
    need: np.ndarray, taken: np.ndarray, shelves: _Shelves, s: SimulationSettings, truth: Planted, rng: Any
) -> np.ndarray:
    """Draws need[u] distinct pairs user * I + item of each user u, none of them in `taken` (sorted); (sum of need,)."""
    pairs, missing, attempt = taken, need, 0
    while missing.any():
        if attempt == MAX_ROUNDS:
            raise InputError(
                "distinct interactions that users with these tastes can have",
                expected=f"{s.num_interactions:,}",
                got=f"{missing.sum():,} fewer: {np.count_nonzero(missing):,} users ran out of items",
                remedy="lower num_interactions, num_clusters or a skew, or raise clusters_per_user or noise",
            )
        times = int(np.clip(MAX_DRAWS // missing.sum(), 1, 2**attempt))
        user = np.repeat(np.arange(s.num_users), missing * times)
        pair = user * s.num_items + _pick(user, shelves, s, truth, rng)
        pair = pair[np.sort(np.unique(pair, return_index=True)[1])]  # each once, in the order of the draws
        if len(pairs):
            pair = pair[pairs[np.searchsorted(pairs, pair).clip(max=len(pairs) - 1)] != pair]
        owner = pair // s.num_items
        pair = pair[np.arange(len(pair)) - np.searchsorted(owner, owner) < missing[owner]]  # no more than needed
        missing = missing - np.bincount(pair // s.num_items, minlength=s.num_users)
        pairs = np.sort(np.concatenate([pairs, pair]), kind="stable")
        attempt += 1
    return np.setdiff1d(pairs, taken, assume_unique=True)


def _pick(user: np.ndarray, shelves: _Shelves, s: SimulationSettings, truth: Planted, rng: Any) -> np.ndarray:
    """Draws (n,) one item per user, by popularity: from all items, or from a cluster that the user likes."""
    edges = truth.user_weights.cumsum(axis=1, dtype=np.float64)[:, :-1]  # (U, M - 1)
    m = (edges[user] <= rng.random((len(user), 1))).sum(axis=1)
    liked = truth.user_clusters[user, m, rng.integers(s.clusters_per_user, size=len(user))]
    shelf = np.where(rng.random(len(user)) < s.noise, len(s.modalities) * s.num_clusters, m * s.num_clusters + liked)
    first, end = shelves.start[shelf], shelves.start[shelf + 1]
    low, high = shelves.mass[first], shelves.mass[end]
    at = np.searchsorted(shelves.mass, low + rng.random(len(user)) * (high - low), side="right") - 1
    return shelves.item[at.clip(first, end - 1)]


def _write_features(
    writer: DatasetWriter,
    modality: str,
    cluster: np.ndarray,
    s: SimulationSettings,
    seed: int,
    rng: np.random.Generator,
) -> None:
    dim, block = s.modalities[modality], max(1, BLOCK_VALUES // s.modalities[modality])
    centroids = rng.standard_normal((s.num_clusters, dim), dtype=np.float32)  # (C, d_m)
    values = writer.create_features(modality, num_items=s.num_items, dim=dim, dtype=s.dtype)
    assert isinstance(values, np.memmap) and values.filename
    with Path(values.filename).open("r+b") as file:  # pages written through the map would stay in memory
        file.seek(values.offset)
        for start in range(0, s.num_items, block):
            z = cluster[start : start + block]
            rows = centroids[z] + s.feature_noise * rng.standard_normal((len(z), dim), dtype=np.float32)
            rows[z < 0] = 0
            file.write(rows.astype(s.dtype).data)
    made_by = {"simulator": s.model_dump(), "seed": seed}
    writer.close_features(modality, values, cluster >= 0, made_by=made_by)


def _ids(letter: str, count: int) -> pl.Series:
    return letter + pl.Series(range(count)).cast(pl.String).str.zfill(max(5, len(str(count - 1))))


def _items(s: SimulationSettings, truth: Planted) -> pl.DataFrame:
    """Returns item_id and a title made of the words of the clusters: `Neon city, lo-fi beat, travel tips #12`."""
    words = {
        modality: pl.Series([phrase(modality, z) for z in range(s.num_clusters)] + [None], dtype=pl.String).gather(
            truth.item_clusters[:, m] % (s.num_clusters + 1)  # -1 becomes the last phrase: null
        )
        for m, modality in enumerate(s.modalities)
    }
    title = pl.DataFrame(words).select(title=pl.concat_str(pl.all(), separator=", ", ignore_nulls=True))
    number = pl.int_range(1, pl.len() + 1).over("title").cast(pl.String)
    initial = pl.col("title").str.slice(0, 1).str.to_uppercase() + pl.col("title").str.slice(1)
    return title.select(_ids("v", s.num_items).alias("item_id"), title=initial + " #" + number)


def phrase(modality: str, cluster: int) -> str:
    """Names a cluster in titles and captions: `neon city` for the first 64 of usual modalities, else `visual 65`."""
    if modality not in _WORDS or cluster >= 64:
        return f"{modality} {cluster + 1}"
    words = _WORDS[modality].split()
    return f"{words[cluster % 8]} {words[8 + (cluster + cluster // 8) % 8]}"
