"""The demonstration: an item that nobody has seen is put into the running service with a picture and words. In the next
request it is in the lists of the users whose planted tastes it fits, and the reason names the right modality."""

import base64
import io
import time

import numpy as np
import pytest

import medley
from medley.data.simulate import phrase, planted

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("av", reason="the extra media is not installed")

from fastapi.testclient import TestClient
from PIL import Image

from medley.media.captions import caption
from medley.media.drawing import draw
from medley.media.render import simulate_media
from medley.media.uploads import Uploads
from medley.serving.http.app import create_app, open_service
from medley.serving.http.settings import Settings

VISUAL, TEXTUAL = 3, 2  # planted clusters of the new item
K = 20


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A catalogue of media, three modalities of which two are extracted, a trained model, its bundle, a client."""
    folder = tmp_path_factory.mktemp("shop")
    settings = medley.preset(
        "demo",
        num_users=300,
        num_items=240,
        num_interactions=9_000,
        num_clusters=8,
        clusters_per_user=2,
        modalities={"visual": 8, "textual": 8},
        missing=0.0,
        cold_items=0.05,
    )
    data = simulate_media(folder / "data", settings=settings, seed=3, features=False)
    table = data.folder / "media" / "media.parquet"
    data = medley.extract(data, table, visual="colour-layout", textual="hashing", progress=False).dataset
    run = medley.train("freedom", data, num_epochs=40, batch_size=1024, lr=5e-3, progress=False)
    medley.export(run, out=folder / "shop.medley", media=table)

    def encoder(bundle):
        return Uploads({m: each.made_by or {} for m, each in bundle.manifest.modalities.items()}, bundle.fitted)

    app = create_app(
        Settings(bundle=folder / "shop.medley"), open=lambda settings: open_service(settings, encoder=encoder)
    )
    with TestClient(app, base_url="http://127.0.0.1") as client:
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.05)
        yield client, data


@pytest.fixture(scope="module")
def lists(shop):
    """The list of every user, one request after the item was put; and the answer to the put."""
    client, data = shop
    rng = np.random.default_rng(7)
    picture = io.BytesIO()
    Image.fromarray(draw(VISUAL, rng)[0]).save(picture, "JPEG")
    media = {
        "image": base64.b64encode(picture.getvalue()).decode(),
        "text": caption(phrase("textual", TEXTUAL), rng),
    }
    put = client.put("/v1/items/never seen", json={"attributes": {"title": "Never seen"}, "media": media})
    assert put.status_code == 200, put.text
    found = []
    for user in data.users.raw:
        answer = client.post("/v1/recommend", json={"user": user, "k": K, "explain": True})
        assert answer.status_code == 200 and answer.json()["fallback"] is None
        found.append({item["id"]: item for item in answer.json()["items"]})
    return put.json(), found


def test_the_item_has_both_modalities_and_a_picture(shop, lists):
    client, _ = shop
    put, _ = lists
    assert put["cold"] and put["modalities"] == ["visual", "textual"] and not put["missing"]
    shown = client.get("/v1/items/never%20seen/image")
    assert shown.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(shown.content)).size[0] <= 160


def test_its_nearest_items_by_each_modality_are_of_its_planted_clusters(shop, lists):
    client, data = shop
    clusters = planted(data).item_clusters
    for at, (modality, cluster) in enumerate({"visual": VISUAL, "textual": TEXTUAL}.items()):
        near = client.get(f"/v1/items/never%20seen/similar?by={modality}&k=10").json()["items"]
        rows = [data.items.row(item["id"]) for item in near]
        assert (clusters[rows, at] == cluster).mean() >= 0.7, modality


def test_it_is_listed_for_the_users_whose_planted_tastes_it_fits(shop, lists):
    _, data = shop
    _, found = lists
    truth = planted(data)
    fit = truth.user_weights[:, 0] * (truth.user_clusters[:, 0] == VISUAL).any(axis=1)
    fit = fit + truth.user_weights[:, 1] * (truth.user_clusters[:, 1] == TEXTUAL).any(axis=1)
    listed = np.array(["never seen" in each for each in found])
    fits, does_not = listed[fit > 0.6].mean(), listed[fit == 0].mean()
    assert fits > 0.3 and fits > 5 * does_not, (fits, does_not)


def test_the_reason_names_the_modality_of_the_planted_taste(shop, lists):
    _, data = shop
    _, found = lists
    truth = planted(data)
    right = []
    for user, each in enumerate(found):
        likes = {
            "visual": bool((truth.user_clusters[user, 0] == VISUAL).any()),
            "textual": bool((truth.user_clusters[user, 1] == TEXTUAL).any()),
        }
        if "never seen" in each and sum(likes.values()) == 1:
            parts = each["never seen"]["why"]["parts"]
            named = max(("visual", "textual"), key=parts.__getitem__)
            right.append(likes[named])
    assert len(right) >= 10 and np.mean(right) > 0.8, (len(right), np.mean(right))
