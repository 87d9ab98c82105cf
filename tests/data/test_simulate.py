"""The simulator: exact counts, data that follow the planted truth, the same bytes for the same seed."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.data import simulate as module
from medley.data.dataset import Dataset
from medley.data.simulate import PRESETS, Planted, SimulationSettings, planted, preset, simulate
from medley.data.writer import DatasetWriter
from medley.errors import InputError


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Dataset:
    return simulate(tmp_path_factory.mktemp("simulated") / "demo", settings=preset("demo"), seed=0)


def small(**changes) -> SimulationSettings:
    """60 users, 120 items, 900 interactions, 6 clusters."""
    shape = {"num_users": 60, "num_items": 120, "num_interactions": 900, "num_clusters": 6, "clusters_per_user": 2}
    return preset("demo", **(shape | changes))


def pairs_of(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return dataset.log["user"].to_numpy(), dataset.log["item"].to_numpy()


def liked(truth: Planted, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Returns (n, M) bool: the item has the modality, in a cluster that the user likes."""
    return (truth.user_clusters[user] == truth.item_clusters[item][:, :, None]).any(axis=2)


def test_same_seed_same_bytes_whatever_the_block_size(tmp_path, monkeypatch):
    one = simulate(tmp_path / "one", settings=small(), seed=3)
    monkeypatch.setattr(module, "BLOCK_VALUES", 7 * 64 + 1)  # 7 rows of the visual modality at a time, 14, 9
    two = simulate(tmp_path / "two", settings=small(), seed=3)
    assert one.manifest.content_hash == two.manifest.content_hash


def test_same_seed_same_bytes_whatever_the_number_of_threads(tmp_path):
    """Enough interactions for polars to work in parallel, in a process that may use one thread only."""
    big = {"num_users": 3000, "num_items": 2000, "num_interactions": 100_000}
    here = simulate(tmp_path / "here", settings=preset(**big), seed=3)
    code = (
        "from medley.data.simulate import preset, simulate; "
        f"print(simulate({str(tmp_path / 'there')!r}, settings=preset(**{big}), seed=3).manifest.content_hash)"
    )
    environment = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here.manifest.content_hash


def test_another_seed_gives_other_data(tmp_path):
    one, two = (simulate(tmp_path / str(seed), settings=small(), seed=seed) for seed in (0, 1))
    assert one.manifest.split_hash != two.manifest.split_hash
    assert not np.array_equal(one.features["visual"].values, two.features["visual"].values)


@settings(max_examples=25, deadline=None)
@given(
    num_users=st.integers(1, 80),
    num_items=st.integers(80, 200),
    per_user=st.floats(2, 12),
    dims=st.dictionaries(st.sampled_from(["visual", "acoustic", "textual", "mood"]), st.integers(1, 5), min_size=1),
    missing=st.floats(0, 1),
    cold_items=st.floats(0, 0.4),
    noise=st.floats(0.2, 1),
    seed=st.integers(0, 2**32),
)
def test_counts_are_exactly_those_of_the_settings(
    tmp_path_factory, num_users, num_items, per_user, dims, missing, cold_items, noise, seed
):
    missing *= 1 - 1 / len(dims)
    shape = SimulationSettings(
        name="any", num_users=num_users, num_items=num_items, num_interactions=int(num_users * per_user),
        modalities=dims, num_clusters=4, clusters_per_user=1, min_activity=2, missing=missing, cold_items=cold_items,
        noise=noise,
    )  # fmt: skip
    dataset = simulate(tmp_path_factory.mktemp("any") / "out", settings=shape, seed=seed)
    tenth = round(shape.num_interactions / 10)
    counts = {"train": shape.num_interactions - 2 * tenth, "valid": tenth, "test": tenth}
    assert dataset.manifest.num_interactions == counts
    assert (len(dataset.users), len(dataset.items)) == (num_users, num_items)
    assert not dataset.log.select("user", "item").is_duplicated().any()
    assert dataset.train.items_per_user().min() >= 1  # nobody is cold
    present = np.stack([dataset.features[name].present for name in dims], axis=1)
    assert present.any(axis=1).all()  # no item lacks all
    assert np.abs((~present).sum(axis=0) - missing * num_items).max() <= 1
    truth = planted(dataset)
    assert truth.cold.sum() == round(cold_items * num_items)
    assert not truth.cold[dataset.train.item].any()


def test_every_user_has_the_least_activity_and_some_have_far_more(demo):
    activity = np.bincount(demo.log["user"], minlength=600)
    assert activity.min() >= PRESETS["demo"].min_activity
    assert activity.max() > 4 * np.median(activity)


def test_popularity_is_skewed_and_follows_what_was_planted(tmp_path):
    dataset = simulate(tmp_path / "noise", settings=preset(noise=1.0, popularity_skew=0.8, cold_items=0.0), seed=0)
    counts = np.bincount(dataset.log["item"], minlength=900)
    by_plant = np.argsort(-planted(dataset).item_popularity)
    assert counts[by_plant[:90]].sum() > 3 * counts.sum() / 10  # the top tenth has more than three times its share
    assert np.all(np.diff([group.sum() for group in np.split(counts[by_plant], 9)]) < 0)


def test_without_noise_every_interaction_has_a_planted_reason(tmp_path):
    dataset = simulate(tmp_path / "pure", settings=preset(noise=0.0, missing=0.3, activity_skew=0.2), seed=0)
    assert liked(planted(dataset), *pairs_of(dataset)).any(axis=1).all()


def test_users_of_one_modality_choose_only_items_that_have_it(tmp_path):
    extreme = preset(noise=0.0, taste_concentration=0.01, missing=0.4, activity_skew=0.2, num_clusters=8)
    dataset = simulate(tmp_path / "extreme", settings=extreme, seed=0)
    truth, (user, item) = planted(dataset), pairs_of(dataset)
    favourite = truth.user_weights.argmax(axis=1)
    sure = truth.user_weights.max(axis=1)[user] > 0.9999
    assert sure.mean() > 0.8
    assert liked(truth, user, item)[np.arange(len(user)), favourite[user]][sure].all()
    present = np.stack([features.present for features in dataset.features.values()], axis=1)
    assert present[item, favourite[user]][sure].all()


def test_users_follow_their_weights_as_often_as_planted(tmp_path):
    """Clusters are large here: no user runs out of liked items, so the shares equal the planted weights."""
    shape = preset(num_users=2000, num_items=8000, num_interactions=20_000, activity_skew=0.2, popularity_skew=0.2)
    dataset = simulate(tmp_path / "wide", settings=shape, seed=0)
    truth, (user, item) = planted(dataset), pairs_of(dataset)
    hit = liked(truth, user, item)
    by_chance = liked(truth, user, np.random.default_rng(0).permutation(item)).mean(axis=0)  # (M,)
    for m in range(3):
        by_taste = (1 - shape.noise) * truth.user_weights[user, m]
        for low, high in ((0, 0.05), (0.3, 0.6), (0.9, 1)):
            users = (truth.user_weights[user, m] >= low) & (truth.user_weights[user, m] <= high)
            expected = by_taste[users].mean() + (1 - by_taste[users].mean()) * by_chance[m]
            assert hit[users, m].mean() == pytest.approx(expected, abs=0.03)
        assert hit[users, m].mean() > 5 * by_chance[m]


def test_the_weights_can_be_recovered_from_what_users_choose(demo):
    truth, (user, item) = planted(demo), pairs_of(demo)
    share = np.stack([np.bincount(user, column) for column in liked(truth, user, item).T], axis=1)
    share /= np.bincount(user)[:, None]  # (U, M)
    for m in range(3):
        assert np.corrcoef(share[:, m], truth.user_weights[:, m])[0, 1] > 0.9


def test_a_ranking_by_the_planted_tastes_beats_popularity_by_far(demo):
    truth, num_items = planted(demo), len(demo.items)
    popularity = demo.train.users_per_item()
    ours, theirs = [], []
    seen = (demo.train.csr() + demo.valid.csr()).toarray() > 0
    relevant = demo.test.csr().toarray() > 0
    for u in np.flatnonzero(relevant.any(axis=1)):
        taste = liked(truth, np.full(num_items, u), np.arange(num_items)) @ truth.user_weights[u]
        for hits, score in ((ours, taste * truth.item_popularity), (theirs, popularity)):
            top = np.argsort(-np.where(seen[u], -1, score), kind="stable")[:20]
            hits.append(relevant[u, top].sum() / relevant[u].sum())
    assert np.mean(ours) > 3 * np.mean(theirs)


def test_the_nearest_centroid_is_that_of_the_cluster(demo):
    truth = planted(demo)
    for m, features in enumerate(demo.features.values()):
        values, cluster = features.values[features.present], truth.item_clusters[features.present, m]
        centroids = np.stack([values[cluster == c].mean(axis=0) for c in range(24)])
        distance = ((values[:, None] - centroids) ** 2).sum(axis=2)
        assert (distance.argmin(axis=1) == cluster).mean() > 0.95


def test_feature_noise_blurs_the_clusters(tmp_path):
    clean = simulate(tmp_path / "clean", settings=small(feature_noise=0.0, missing=0.0), seed=0)
    assert len(np.unique(clean.features["visual"].values, axis=0)) == len(np.unique(planted(clean).item_clusters[:, 0]))
    noisy = simulate(tmp_path / "noisy", settings=small(feature_noise=2.0, missing=0.0), seed=0)
    assert len(np.unique(noisy.features["visual"].values, axis=0)) == 120


def test_an_item_that_lacks_a_modality_has_a_zero_row_and_no_cluster(demo):
    for m, features in enumerate(demo.features.values()):
        assert (~features.present).sum() == 90
        assert not features.values[~features.present].any()
        assert features.values[features.present].any(axis=1).all()
        assert np.array_equal(planted(demo).item_clusters[:, m] >= 0, features.present)


def test_cold_items_occur_in_validation_and_test_but_never_in_train(demo):
    cold = planted(demo).cold
    assert cold.sum() == 45
    assert not cold[demo.train.item].any()
    assert cold[demo.valid.item].any() and cold[demo.test.item].any()


def test_time_ascends_within_a_user_from_train_over_validation_to_test(demo):
    log = demo.log.sort("user", "timestamp")
    user, time = log["user"].to_numpy(), log["timestamp"].to_numpy()
    split = log["split"].replace_strict(["train", "valid", "test"], [0, 1, 2]).to_numpy()
    same = user[1:] == user[:-1]
    assert (np.diff(time)[same] > 0).all()
    assert (np.diff(split)[same] >= 0).all()


def test_ids_and_titles_are_readable(demo):
    assert demo.users.raw_id(17) == "u00017" and demo.items.raw_id(421) == "v00421"
    truth, titles = planted(demo), demo.item_table["title"]
    assert titles.n_unique() == len(titles)
    city = np.flatnonzero(truth.item_clusters[:, 0] == 0)
    assert all(demo.title(i).startswith("Neon city") for i in city)
    silent = np.flatnonzero(truth.item_clusters[:, 1] < 0)
    assert all(demo.title(i).count(",") <= 1 for i in silent)


def test_modalities_may_have_any_name_and_keep_their_order(tmp_path):
    dataset = simulate(tmp_path / "x", settings=small(modalities={"smell": 3, "acoustic": 2}, dtype="float16"), seed=0)
    assert list(dataset.features) == ["smell", "acoustic"]
    assert dataset.features["smell"].values.shape == (120, 3)
    assert dataset.features["smell"].values.dtype == np.float16
    assert dataset.title(int(planted(dataset).item_clusters[:, 0].argmax())).startswith("Smell 6")


def test_features_stream_to_disk_in_blocks(tmp_path, monkeypatch):
    """16 MB of features, in blocks of 256 KiB: the peak stays far below the whole."""
    monkeypatch.setattr(module, "BLOCK_VALUES", 2**16)
    shape = small(num_items=1000, modalities={"visual": 4096}, missing=0.0)
    tracemalloc.start()
    try:
        simulate(tmp_path / "wide", settings=shape, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6 < 1000 * 4096 * 4


def test_the_folder_is_complete_and_records_its_settings(demo):
    again = Dataset(demo.folder, verify=True)
    assert again.manifest.provenance["seed"] == 0
    assert SimulationSettings(**again.manifest.provenance["settings"]) == PRESETS["demo"]
    for record in again.manifest.modalities.values():
        assert record.made_by["seed"] == 0
        assert SimulationSettings(**record.made_by["simulator"]) == PRESETS["demo"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_ask_for_possible_shapes(name):
    module._check(PRESETS[name], seed=0)
    assert PRESETS[name].name == name


def test_presets_have_the_shapes_of_the_papers():
    kwai, ludp = PRESETS["kwai"], PRESETS["movielens-ludp"]
    assert (kwai.num_interactions, kwai.num_items, kwai.num_users) == (1_664_305, 329_510, 22_611)
    assert kwai.modalities == {"visual": 2048, "textual": 128}
    assert ludp.modalities == {"visual": 2048, "acoustic": 256, "textual": 768}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_interactions": 100}, "num_interactions: expected 300 to 1,680"),
        ({"num_interactions": 5000}, "num_interactions: expected 300 to 1,680"),
        ({"missing": 0.7}, "missing: expected at most 0.667"),
        ({"modalities": {"visual": 4}}, "missing: expected at most 0.000"),
        ({"clusters_per_user": 7}, "clusters with items: expected at least 7, got 6"),
        ({"noise": 0.0, "clusters_per_user": 1, "num_interactions": 1500}, "users ran out of items"),
        ({"noize": 0.1}, "unknown option 'noize' of the simulator. Remedy: did you mean noise?"),
        ({"noise": 1.5}, "option 'noise' of the simulator: expected 1 or less, got 1.5"),
        ({"modalities": {"../visual": 4}}, r"^name of a modality: expected letters, .* got '../visual'"),
        ({"modalities": {"history": 4}}, "name of a modality: .* got 'history'"),
        ({"feature_noise": float("nan")}, "feature_noise"),
        ({"num_users": "many"}, "option 'num_users' of the simulator: expected a whole number, got 'many'"),
    ],
)
def test_impossible_settings_are_refused_and_leave_nothing(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        simulate(tmp_path / "out", settings=small(**changes), seed=0)
    assert not list(tmp_path.iterdir())


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(InputError, match="seed: expected 0 or larger, got -1"):
        simulate(tmp_path / "out", settings=small(), seed=-1)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(InputError, match=r"expected demo or tiktok or kwai .*'tictoc'"):
        preset("tictoc")


def test_an_existing_folder_is_replaced_only_on_demand(tmp_path):
    first = simulate(tmp_path / "out", settings=small(), seed=0).manifest.content_hash
    with pytest.raises(InputError, match="exists already"):
        simulate(tmp_path / "out", settings=small(), seed=1)
    assert Dataset(tmp_path / "out").manifest.content_hash == first
    assert simulate(tmp_path / "out", settings=small(), seed=1, overwrite=True).manifest.content_hash != first


def test_nothing_planted_is_found_in_data_that_was_not_simulated(tmp_path, demo):
    with DatasetWriter(tmp_path / "real", name="real") as writer:
        writer.write_tables(demo.log.select(user_id="user").head(0), demo.item_table.head(0), demo.log.head(0))
        writer.finish(provenance={})
    with pytest.raises(InputError, match="not a simulated data set"):
        planted(Dataset(tmp_path / "real"))
