"""docs/training.md says what the code does."""

import re
from pathlib import Path

import medley
from medley.runs.settings import TrainSettings

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def table(after: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its head."""
    rows = re.findall(r"^\| (.*) \|$", PAGE.partition(f"## {after}\n")[2].partition("\n## ")[0], re.M)
    return [row.split(" | ") for row in rows[1:]]


def test_the_table_of_settings_is_that_of_the_code():
    said = {name.strip("`"): default for name, default, _ in table("Settings")}
    fields = TrainSettings.model_fields
    assert list(said) == list(fields)
    given = {name: default for name, default in said.items() if default != str(fields[name].default)}
    assert {name: float(default) for name, default in given.items()} == {"lr": fields["lr"].default}  # as 1e-3


def test_the_table_of_the_run_folder_is_what_a_run_writes(simulated, tmp_path):
    run = medley.train("mf", simulated, out=tmp_path / "run", num_epochs=1, progress=False)
    medley.evaluate(run)
    named = {name for cells in table("The run folder") for name in re.findall(r"`([^`]+)`", cells[0])}
    assert named == {path.name for path in run.folder.iterdir()}
