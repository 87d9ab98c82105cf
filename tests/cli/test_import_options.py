"""Each option of `medley import` that says what is read, kept and split has its effect."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.cli.running import medley, printed

from medley.data.dataset import Dataset

SQUARE = "user_id,item_id\n" + "".join(f"u{user},i{item}\n" for user in range(4) for item in range(5))
DECIMALS = "user_id;item_id;rating\na;x;4,5\nb;y;1,5\n"
DATED = "user_id,item_id,timestamp\na,x,24.12.2023\n"
TAIL = "user_id,item_id\na,x\na,y\nb,x\nb,y\nc,x\nc,z\n"  # c has two items, but z has one user
STARS = "user_id,item_id,stars\na,x,5\nb,y,1\n"


def users(data: Dataset) -> list[str]:
    return sorted(data.users.raw)


def items(data: Dataset) -> list[str]:
    return sorted(data.items.raw)


def sizes(data: Dataset) -> list[int]:
    return [data.manifest.num_interactions[split] for split in ("train", "valid", "test")]


CASES: dict[str, tuple[str, list[str], Callable[[Dataset], object], object]] = {
    "name": (SQUARE, ["--name", "shop"], lambda data: data.manifest.name, "shop"),
    "rating-column": (STARS, ["--rating-column", "stars", "--rating-threshold", "4"], users, ["a"]),
    "encoding": ("user_id,item_id\na,café\n", ["--encoding", "latin-1"], items, ["café"]),
    "quote": ("user_id,item_id\n'a,b',x\n", ["--quote", "'"], users, ["a,b"]),
    "decimal": (DECIMALS, ["--separator", ";", "--decimal", ",", "--rating-threshold", "4"], users, ["a"]),
    "date-format": (
        DATED,
        ["--date-format", "%d.%m.%Y"],
        lambda data: data.log["timestamp"].to_list(),
        [1_703_376_000],  # date -u -d 2023-12-24 +%s
    ),
    "kcore": (TAIL, ["--kcore", "2"], lambda data: (users(data), items(data)), (["a", "b"], ["x", "y"])),
    "ratios": (SQUARE, ["--split", "random", "--ratios", "0.5", "0.2", "0.3"], sizes, [10, 4, 6]),
}


def imported(folder: Path, text: str, *options: object) -> Dataset:
    (folder / "log.csv").write_bytes(text.encode("latin-1"))
    printed("import", "csv", folder / "log.csv", "--out", folder / "data", "--overwrite", *options)
    return Dataset(folder / "data")


@pytest.mark.parametrize("option", CASES)
def test_an_option_has_its_effect(option: str, tmp_path: Path):
    text, words, effect, expected = CASES[option]
    assert effect(imported(tmp_path, text, *words)) == expected


def test_the_table_of_users_and_its_ids_may_have_any_name(tmp_path: Path):
    (tmp_path / "people.csv").write_text("who,town\na,Ulm\nb,Bonn\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id\na,x\nb,y\nc,x\n")
    table = ["--users", "people.csv", "--users-id-column", "who"]
    command = ["import", "csv", tmp_path, "--out", tmp_path / "data", "--interactions", "interactions.csv", *table]
    refused = medley(*command)
    assert refused.returncode == 2 and "--unknown-users" in refused.stderr
    printed(*command, "--unknown-users", "drop")
    data = Dataset(tmp_path / "data")
    assert users(data) == ["a", "b"] and sorted(pl.read_parquet(tmp_path / "data/users.parquet")["town"]) == [
        "Bonn",
        "Ulm",
    ]


def test_the_seed_decides_the_split(tmp_path: Path):
    first, again, other = (
        imported(tmp_path, SQUARE, "--split", "random", "--seed", seed).manifest.split_hash for seed in (3, 3, 4)
    )
    assert first == again != other


def test_a_folder_that_exists_is_replaced_with_overwrite_alone(tmp_path: Path):
    assert len(imported(tmp_path, SQUARE).log) == 20
    (tmp_path / "log.csv").write_text(STARS)
    command = ["import", "csv", tmp_path / "log.csv", "--out", tmp_path / "data"]
    assert medley(*command).returncode == 2 and len(Dataset(tmp_path / "data").log) == 20
    printed(*command, "--overwrite")
    assert len(Dataset(tmp_path / "data").log) == 2
