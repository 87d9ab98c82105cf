"""The page of new items, from a study that runs here."""

import numpy as np
import pytest
from tools.new_items_page import main

import medley
from medley.errors import InputError
from medley.evaluation.evaluator import Evaluator
from medley.experiments.running import run_study
from medley.experiments.scheduler import Resources

STUDY = """
title = "A study"
seeds = 2
[common]
num_epochs = 2
[[entries]]
model = "mf"
label = "MF (BPR)"
[[entries]]
model = "mosaic"
label = "Mosaic"
options = { dim = 8 }
"""


def test_items_of_validation_and_test_alone_are_placed_by_the_rule_of_each_model(simulated, tmp_path):
    gone = np.arange(0, 90, 6)
    log = simulated.log
    log = log.filter(~(log["item"].is_in(gone.tolist()) & (log["split"].cast(str) == "train")))
    frame = {
        "user_id": simulated.users.raw.gather(log["user"].to_numpy()),
        "item_id": simulated.items.raw.gather(log["item"].to_numpy()),
        "split": log["split"].cast(str),
    }
    features = {m: (np.asarray(f.values), f.present) for m, f in simulated.features.items()}
    items = simulated.item_table.select("item_id")
    data = medley.Dataset.from_frames(frame, items=items, features=features, out=tmp_path / "data")
    (tmp_path / "study.toml").write_text(STUDY)
    resources = Resources(jobs=0)
    run_study(tmp_path / "study.toml", data, out=tmp_path / "out", runs=tmp_path / "runs", resources=resources)
    page = tmp_path / "page.md"
    folders = {"results": tmp_path / "out", "runs": tmp_path / "runs", "data": data.folder, "out": page}
    words = [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    main([*words, "--entries", "Mosaic", "MF (BPR)"])
    with pytest.raises(InputError, match=r"Mosaic.*got of no study"):
        main([*words, "--entries", "of no study"])
    text = page.read_text()
    num_cold = int((data.train.users_per_item() == 0).sum())
    assert f"{num_cold:,} of 90 items never occur in train" in text and num_cold >= len(gone)
    rows = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines() if " / " in line
    }
    assert rows["MF (BPR)"][1] == "neighbours" and rows["Mosaic"][1] == "its own path"
    for cells in (rows["MF (BPR)"], rows["Mosaic"]):
        once, thrice = (float(cell.split(" / ")[2].rstrip("%")) for cell in cells[3:5])
        assert once < thrice  # share of the places
    judge = Evaluator(data, split="test", at=(20,), metrics=("recall",), groups=True)
    runs = [folder.parent for folder in (tmp_path / "runs" / "mf").glob("*/run.json")]
    cold = [judge(medley.Run(folder).model(data).scorer()).metrics["cold_recall@20"] for folder in runs]
    assert rows["MF (BPR)"][2].startswith(f"{np.mean(cold):.4f}")
