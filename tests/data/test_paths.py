"""A path is a path: brackets, stars and a tilde in it are letters."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.errors import InputError

NAMES = ["d[1]", "d*", "d?", "d{1,2}", "~d", "year=2024", "d 1", "ü"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        Dataset.from_frames({"user_id": [f"of d{number}"], "item_id": [1]}, out=f"d{number}")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_is_written_and_read_where_its_name_says(here, name):
    data = Dataset.from_frames({"user_id": ["mine"], "item_id": [7], "title": ["x"]}, items={"item_id": [7]}, out=name)
    data = data.with_modality("visual", np.ones((1, 2)))
    again = Dataset(Path(name), verify=True)
    assert (again.users.raw_id(0), again.items.raw_id(0), len(again.log)) == ("mine", "7", 1)
    assert again.item_table.columns == ["item_id"] and again.features["visual"].present.all()
    assert {path.name for path in here.iterdir()} == {"d1", "d2", name}


def test_a_folder_called_tilde_is_not_the_home_folder(here):
    data = Dataset.from_frames({"user_id": ["mine"], "item_id": [7]}, out="~/data")
    assert data.users.raw_id(0) == "mine" and (here / "~" / "data" / "users.parquet").exists()


def test_a_pattern_does_not_find_another_data_set(here):
    for name in ("d[1]", "d?", "d*"):
        with pytest.raises(InputError, match="not a data set folder"):
            Dataset(name)
    shutil.copytree("d1", "d[2]")
    assert Dataset("d[2]").users.raw_id(0) == "of d1"


@pytest.mark.parametrize("name", NAMES)
def test_a_source_is_read_where_its_name_says(here, name):
    for folder, user in ((Path("d1"), "of d1"), (Path(name), "mine")):
        folder.mkdir(exist_ok=True)
        pl.DataFrame({"user_id": [user], "item_id": [1]}).write_parquet((folder / "interactions.parquet").absolute())
        pl.DataFrame({"item_id": [1], "v": [2.0]}).write_parquet((folder / f"{folder.name}.parquet").absolute())
    single = Path(f"{name}.parquet")
    shutil.copy(Path(name) / "interactions.parquet", single)
    assert import_dataset("parquet", single, "single").users.raw_id(0) == "mine"
    (Path(name) / f"{name}.parquet").rename(Path(name) / "mood.parquet")
    data = import_dataset("parquet", name, "whole")
    assert data.users.raw_id(0) == "mine" and data.features["mood"].values.tolist() == [[2.0]]
