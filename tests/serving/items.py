"""Items of a bundle or of a data set, for tests."""

import numpy as np

import medley


def own_features(bundle, row):
    """Modality -> raw features of an item of a bundle, as if the item were new."""
    return {m: f.values[row] for m, f in bundle.features.items() if f.present[row]}


def without_items(data, gone):
    """The data set without the interactions of some items, which keep their rows."""
    log = data.log.filter(~data.log["item"].is_in(list(gone)))
    frame = {
        "user_id": data.users.raw.gather(log["user"].to_numpy()),
        "item_id": data.items.raw.gather(log["item"].to_numpy()),
        "split": log["split"].cast(str),
    }
    features = {m: (np.asarray(f.values), f.present) for m, f in data.features.items()}
    return medley.Dataset.from_frames(frame, items=data.item_table.select("item_id"), features=features)
