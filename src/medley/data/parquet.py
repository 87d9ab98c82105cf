"""Reads parquet files by their literal path, and tables that are a folder of parts."""

from pathlib import Path

import polars as pl

from medley.errors import InputError

HIDDEN = ("_", ".")  # _SUCCESS, _metadata, .part-0.parquet.crc


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Reads one parquet file; polars alone would take [, * and ? in a path for a pattern, and ~ for the home folder."""
    return pl.read_parquet(path.absolute(), columns=columns, glob=False, hive_partitioning=False)


def parts_of(path: Path) -> list[Path]:
    """Returns the files of a folder of parts by name, without _SUCCESS and hidden files.

    Raises:
        InputError: the folder is empty, or divided into folders such as year=2024, whose values the files lack.
    """
    found = sorted(part for part in path.iterdir() if not part.name.startswith(HIDDEN))
    if folders := [part.name for part in found if part.is_dir()]:
        remedy = "write the table without partitionBy, or copy the parts into one folder"
        raise InputError("a table in folders of parts", file=path, got=", ".join(folders[:5]), remedy=remedy)
    if not found:
        raise InputError("the folder has no parts", file=path, remedy="check the job that should have written it")
    return found
