import json
import re
from pathlib import Path

import pytest

from medley import models
from medley.experiments.candidates import CANDIDATES, VARIANTS
from medley.experiments.catalogue import page
from medley.training.settings import TrainSettings, check_settings

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_models_is_what_the_docstrings_and_the_results_make_of_it():
    measured = json.loads((DOCS / "results/tiktok.json").read_text(encoding="utf-8"))
    made = page({result["candidate"]["label"]: result for result in measured})
    assert (DOCS / "models.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_every_model_is_in_the_study_and_in_the_page():
    assert {candidate.model for candidate in CANDIDATES} == set(models.MODELS)
    assert all(f"| `{name}` " in page({}) for name in models.MODELS)


@pytest.mark.parametrize("candidate", [*CANDIDATES, *VARIANTS], ids=lambda candidate: candidate.label)
def test_the_settings_that_the_study_tries_are_accepted(candidate):
    for options in candidate.combinations():
        check_settings({key: value for key, value in options.items() if key in TrainSettings.model_fields})
        of_model = {key: value for key, value in options.items() if key not in TrainSettings.model_fields}
        models.check_options(candidate.model, of_model)


@pytest.mark.parametrize("name", [name for name in models.MODELS if name != "popularity"])
def test_every_paper_has_an_entry_to_cite(name):
    entries = dict(re.findall(r"@\w+\{(\w+),(.*?)\n\}", (DOCS / "references.bib").read_text(encoding="utf-8"), re.S))
    assert models.describe(name)["paper"].rsplit(", ", 1)[1].rstrip(".") in entries[name]
