"""The API lists for a thousand random users what torch ranks offline."""

import time

import numpy as np
import pytest
import torch

import medley
from medley.scoring.top_k import top_k

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient

from medley.serving.http.app import create_app
from medley.serving.http.settings import Settings

K = 10


def test_the_api_lists_for_a_thousand_random_users_what_torch_ranks_offline(tmp_path):
    settings = medley.preset("demo", num_users=1_500, num_items=300, num_interactions=20_000)
    data = medley.simulate(tmp_path / "data", settings=settings, seed=0)
    run = medley.train("lightgcn", data, num_epochs=2, progress=False)
    medley.export(run, out=tmp_path / "shop.medley")
    users = np.random.default_rng(0).choice(data.manifest.num_users, 1_000, replace=False)
    with torch.no_grad():
        items, scores = top_k(run.model(data).scorer(), users, data.union("train+valid+test").csr(), K)
    with TestClient(create_app(Settings(bundle=tmp_path / "shop.medley")), base_url="http://127.0.0.1") as client:
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.05)
        for user, expected, values in zip(users, items, scores, strict=True):
            answer = client.get(f"/v1/recommend/{data.users.raw_id(int(user))}?k={K}").json()
            assert [item["id"] for item in answer["items"]] == [data.items.raw_id(int(row)) for row in expected]
            assert [item["score"] for item in answer["items"]] == pytest.approx(values.tolist(), abs=1e-4)
