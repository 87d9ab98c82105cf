import json
import re
from pathlib import Path

import pytest
from tools.models_page import page

from medley import models
from medley.experiments.studies.catalogue import SEQUENCES
from medley.experiments.studies.tiktok import ENTRIES, VARIANTS
from medley.runs import Recipe

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_models_is_what_the_docstrings_and_the_results_make_of_it():
    measured = json.loads((DOCS / "results/tiktok.json").read_text(encoding="utf-8"))
    made = page({result["entry"]["label"]: result for result in measured})
    assert (DOCS / "models.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_every_model_is_in_the_catalogue_and_in_the_page():
    assert {entry.model for entry in (*ENTRIES, *SEQUENCES)} == set(models.MODELS)
    assert all(f"| `{name}` " in page({}) for name in models.MODELS)


@pytest.mark.parametrize("entry", [*ENTRIES, *SEQUENCES, *VARIANTS], ids=lambda entry: entry.label)
def test_the_settings_that_the_study_tries_are_accepted(entry):
    for options in entry.combinations():
        assert options.items() <= Recipe.of({"model": entry.model, **options}).flat().items()


@pytest.mark.parametrize("name", [name for name in models.MODELS if name != "popularity"])
def test_every_paper_has_an_entry_to_cite(name):
    entries = dict(re.findall(r"@\w+\{(\w+),(.*?)\n\}", (DOCS / "references.bib").read_text(encoding="utf-8"), re.S))
    assert models.describe(name)["paper"].rsplit(", ", 1)[1].rstrip(".") in entries[name]
