"""A case of bad input, and what writes its files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

LOG = "user_id,item_id\na,0\nb,1\nc,2\n"


class Case(NamedTuple):
    name: str
    build: Callable[[Path], Any]
    message: tuple[str, ...]  # parts of the error, in this order
    format: str = "csv"
    options: dict[str, Any] = {}  # noqa: RUF012


def text(*files: tuple[str, str | bytes]) -> Callable[[Path], Any]:
    """Writes these files; `interactions.csv` is LOG unless it is given."""

    def build(folder: Path) -> None:
        for name, content in files:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return build


def log(content: str | bytes) -> Callable[[Path], Any]:
    return text(("interactions.csv", content))


def features(values: Any, *more: tuple[str, str | bytes], name: str = "visual.npy") -> Callable[[Path], Any]:
    def build(folder: Path) -> None:
        text(("interactions.csv", LOG), *more)(folder)
        np.save(folder / name, values)

    return build


def raw_features(content: bytes) -> Callable[[Path], Any]:
    return text(("interactions.csv", LOG), ("visual.npy", content))


def parquet(frame: pl.DataFrame, name: str = "interactions.parquet") -> Callable[[Path], Any]:
    def build(folder: Path) -> None:
        if not name.startswith("interactions"):
            text(("interactions.csv", LOG))(folder)
        frame.write_parquet(folder / name)

    return build


def listed(folder: Path) -> None:
    text(("train.txt", "0 1 2\n"), ("test.txt", "0 1\n\n1 0 7\n"))(folder)
    np.save(folder / "v.npy", np.ones((3, 2)))


def cut_short(folder: Path) -> None:
    features(np.ones((3, 4)))(folder)
    path = folder / "visual.npy"
    path.write_bytes(path.read_bytes()[:-5])


def cut_short_parquet(folder: Path) -> None:
    path = folder / "interactions.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-9])


def with_mask(mask: np.ndarray) -> Callable[[Path], Any]:
    def build(folder: Path) -> None:
        features(np.ones((3, 2)))(folder)
        np.save(folder / "visual.present.npy", mask)

    return build


def two_modalities(folder: Path) -> None:
    features(np.ones((3, 2)))(folder)
    np.save(folder / "acoustic.npy", np.ones((4, 2)))


OK = np.ones((3, 2), dtype=np.float32)
NAN = np.array([[1, 2], [3, np.nan], [np.inf, 0]], dtype=np.float32)
SPIKE = np.array([[1, 2], [3, 4], [5, 1e9]])
INTER = "user_id:token\titem_id:token\trating:float\n"
ITEM = "item_id:token\tmood:float_seq\n"
MMREC = "userID\titemID\tx_label\n"
