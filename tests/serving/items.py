"""Items of a bundle, for tests."""


def own_features(bundle, row):
    """Modality -> raw features of an item of a bundle, as if the item were new."""
    return {m: f.values[row] for m, f in bundle.features.items() if f.present[row]}
