from pathlib import Path

import pytest

from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.experiments.study import Entry, Study

SHORT = {"dim": 8, "num_epochs": 10, "batch_size": 256, "metric": "recall@20"}


def test_settings_are_chosen_on_validation_and_test_is_scored_once_per_seed(simulated: Dataset, tmp_path: Path):
    lines: list[str] = []
    study = Study(simulated, tmp_path, seeds=(0, 1), workers=2, threads=1, report=lines.append)
    entries = [
        Entry("mf", "MF", SHORT, {"lr": (1e-12, 0.05)}),
        Entry("mf", "MF: free", {"reg": 0.0}, {}, variant_of="MF"),
    ]
    system, variant = study.run(entries)
    assert system.chosen["lr"] == 0.05 and system.num_tried == 2
    assert variant.chosen == {**system.chosen, "reg": 0.0} and variant.num_tried == 0
    assert system.valid.num_values == system.metrics["recall@20"].num_values == 2
    assert system.metrics["recall@20"].std > 0 and system.fingerprint == variant.fingerprint
    assert system.cpu_to_best.mean > 0 and system.cpu_per_epoch > 0 and system.peak_gb > 0.05
    assert len(lines) == 2 + 2 + 2
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("mf/*/weights.safetensors")}
    assert len(runs) == 2 + 1 + 2  # two points; the chosen one with the other seed; the variant with both
    again = Study(simulated, tmp_path, seeds=(0, 1), workers=2, threads=1).run(entries[:1])[0]
    assert again.metrics == system.metrics
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("mf/*/weights.safetensors")} == runs


def test_a_variant_of_nothing_is_refused(simulated: Dataset, tmp_path: Path):
    study = Study(simulated, tmp_path)
    with pytest.raises(InputError, match="a variant of 'LightGCN'"):
        study.run([Entry("mf", "MF", SHORT, {}, variant_of="LightGCN")])
