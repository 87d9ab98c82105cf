"""The page of a study in docs/results, from results that are made here."""

import math
from dataclasses import replace

import numpy as np
from tools.study_page import page

from medley.evaluation.statistics import Spread
from medley.experiments.entries import Entry
from medley.experiments.results import Result, Results, document_of, result_of
from medley.report.tables import NONE

ONCE = Spread(1.0, 0.0, 2)
USERS = np.arange(40)


def entry(label: str, recall: float, epochs: tuple[int, int], num_tried: int = 2, variant_of: str = "") -> Result:
    noise = np.random.default_rng(0).random((2, len(USERS))) * 0.1
    return Result(
        entry=Entry("mf", label, {}, {}, variant_of=variant_of),
        chosen={"dim": 8, "num_epochs": 25, "lr": recall},
        num_tried=num_tried,
        valid=ONCE,
        metrics={"recall@20": Spread(recall, 0.01, 2)},
        cpu_to_best=ONCE,
        cpu_per_epoch=1.0,
        peak_gb=0.1,
        best_epochs=epochs,
        num_parameters=100,
        fingerprint="f",
        measured="2026-11-26",
        machine="a machine",
        seeds=(0, 1),
        user=USERS,
        per_user={"recall@20": recall + noise},
    )


def results(entries: list[Result], tables: dict[str, list[str]] | None = None) -> Results:
    study = {"title": "A study", "about": "What it asks.", "metric": "recall@20", "at": [20], "tables": tables or {}}
    split = {"num_interactions": {"train": 8, "valid": 1, "test": 1}, "split_hash": "a" * 20}
    data = {"name": "data", "num_users": 40, "num_items": 50, "modalities": {}, "splits": {"given": split}}
    return Results(study=study, data=data, made_by={"versions": {}, "seeds": [0, 1]}, entries=entries, skipped={})


SLOW, QUICK, BEST = entry("Slow", 0.2, (24, 9)), entry("Quick", 0.3, (9, 23)), entry("Best", 0.5, (4, 4))


def test_entries_that_were_best_in_the_last_two_epochs_are_named():
    fresh = replace(SLOW, history="fresh")  # the same trainings
    text = page(results([SLOW, QUICK, BEST, fresh]), "make")
    assert "longer training may help: Slow." in text


def test_entries_that_were_best_in_the_first_epoch_with_every_seed_are_named():
    never = replace(SLOW, best_epochs=(1, 1), entry=replace(SLOW.entry, label="Never"))
    once = replace(QUICK, best_epochs=(1, 5))
    counted = replace(BEST, best_epochs=(1,), num_parameters=0)
    assert "models after one epoch: Never." in page(results([never, once, counted]), "make")
    assert "after one epoch" not in page(results([SLOW, QUICK]), "make")


def test_headings_name_data_and_condition():
    lines = page(results([SLOW, QUICK]), "make").splitlines()
    assert lines[0] == "# A study (data)" and "## Given split, all unseen items" in lines
    assert "\n\n\n" not in "\n".join(lines)


def test_settings_that_were_fixed_are_not_called_chosen():
    fixed = [replace(one, num_tried=1) for one in (SLOW, QUICK)]
    assert "Settings are fixed by the study" in page(results(fixed), "make")
    assert "Settings are chosen by validation Recall@20 with seed 0." in page(results([SLOW, *fixed]), "make")


def test_each_entry_is_compared_with_the_best_and_with_the_last_of_its_table():
    text = page(
        results([SLOW, QUICK, BEST], {"A paper": ["Gone", "Slow", "Quick"], "Left out": ["Best", "Gone"]}), "make"
    )
    assert "| Slow | Best | -0.3000 |" in text and "| Slow | Quick | -0.1000 |" in text
    assert "| Best | Quick |" not in text and "Gone |" not in text


def test_a_variant_with_the_parameters_of_an_entry_is_compared_with_both():
    small = entry("Best: small", 0.4, (4, 4), variant_of="Best")
    small = replace(small, entry=replace(small.entry, parameters_of="Quick"))
    text = page(results([QUICK, BEST, small]), "make")
    assert "| Best: small | Best | -0.1000 |" in text and "| Best: small | Quick | +0.1000 |" in text


def test_settings_that_all_entries_share_are_said_once():
    text = page(results([SLOW, QUICK]), "make")
    assert "Common to all trained entries: dim = 8, num_epochs = 25." in text
    assert "| Slow | given | lr=0.2 | 2 | 24, 9 |" in text


def test_a_study_of_models_without_parameters_has_a_page():
    text = page(results([replace(SLOW, num_parameters=0)]), "make")
    assert "Common to all" not in text and "longer training" not in text


def test_entries_of_another_machine_are_named_and_seconds_beside_a_gpu_are_left_out():
    unknown = Spread(math.nan, math.nan, 0)
    on_gpu = replace(QUICK, machine="a GPU", versions={"torch": "2"}, cpu_to_best=unknown, cpu_per_epoch=math.nan)
    read = replace(result_of(document_of(on_gpu)), user=USERS, per_user=QUICK.per_user)
    entries = [SLOW, read, BEST]
    text = page(replace(results([SLOW]), entries=entries, made_by={"versions": {"torch": "1"}, "seeds": [0]}), "make")
    assert "Machine: a machine, but for a GPU (Quick). Versions: torch 1, but for torch 2 (Quick)." in text
    assert f"| 9, 23 | {NONE} | 100 |" in text and "| 24, 9 | 1.0 | 100 |" in text
