"""The page of the scales of features, from trainings that run here."""

from tools.scale_page import main

from medley import models
from tools import scale_page


def test_every_model_is_trained_with_every_scale_and_has_a_row(simulated, tmp_path, monkeypatch):
    (tmp_path / "runs/small").mkdir(parents=True)
    (tmp_path / "runs/small/data").symlink_to(simulated.folder)
    monkeypatch.setattr(scale_page, "DATA_SETS", {"small": None})
    monkeypatch.setattr(scale_page, "TRAINING", {"dim": 8, "num_epochs": 1, "batch_size": 256, "metric": "recall@20"})
    for name, few in {"MODELS": ("vbpr",), "SCALES": ("none", "l2"), "SEEDS": (0,)}.items():
        monkeypatch.setattr(scale_page, name, few)
    out = tmp_path / "page.md"
    main(["--data", "unused", "--out", str(out), "--runs", str(tmp_path / "runs"), "--workers", "0"])
    text, title = out.read_text(), models.describe("vbpr")["title"]
    assert f"| {title} | none |" in text and f"| {title} | l2 |" in text
