"""Small bundles of a real model: users u0 to u19, items i0 to i49, of which i0 has a picture."""

from functools import cache
from pathlib import Path

import numpy as np

import medley
from medley.serving.export import export

NUM_USERS, NUM_ITEMS = 20, 50
PICTURE = b"\xff\xd8"


def write_small_bundle(path: Path, *, seed: int = 0) -> Path:
    """Writes the bundle of a model that is drawn, not trained; another seed is another version."""
    data = _data()
    model = medley.build("vbpr", data, seed=seed, dim=8)
    export(model, data, path, thumbnails={data.items.row("i0"): PICTURE}, overwrite=True)
    return path


@cache
def _data() -> medley.Dataset:
    rng = np.random.default_rng(0)
    pairs = [(user, item) for user in range(NUM_USERS) for item in rng.choice(NUM_ITEMS, 8, replace=False)]
    user, item = np.array(pairs).T
    log = {"user_id": [f"u{row}" for row in user], "item_id": [f"i{row}" for row in item]}
    items = {"item_id": [f"i{row}" for row in range(NUM_ITEMS)], "title": [f"Item {row}" for row in range(NUM_ITEMS)]}
    features = {"visual": rng.normal(size=(NUM_ITEMS, 8)).astype("f4")}
    return medley.Dataset.from_frames(log, items=items, features=features, split="random")
