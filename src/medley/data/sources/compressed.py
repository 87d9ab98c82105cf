"""Compressed files, recognised by their first bytes; what is neither text nor compressed is named, with a remedy."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import polars as pl

from medley.errors import InputError

PARQUET = b"PAR1"
LAYERS = 4  # of compression, at most
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")  # what a name may end with behind .csv
SPREADSHEET = "export the sheet as CSV UTF-8, or write it with pandas: read_excel(...).to_csv(..., index=False)"
UNPACK = "unpack it, and give the file inside"
OTHERS: tuple[tuple[bytes, str, str], ...] = (  # first bytes, what it is, remedy
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet or document of old Office (.xls)", SPREADSHEET),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4 it"),
    (b"\x1f\x9d", "the old compress (.Z)", "uncompress it"),
    (b"ARROW1", "an Arrow (feather) file", "write parquet: polars.read_ipc(...).write_parquet(...)"),
    (b"ORC", "an ORC file", "write parquet"),
    (b"Obj\x01", "an Avro file", "write parquet: polars.read_avro(...).write_parquet(...)"),
    (b"\x89HDF\r\n", "an HDF5 file", "write a table of it as CSV or parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x93NUMPY", "a numpy array", "give a table; features are read from .npy files"),
    (b"%PDF-", "a PDF", "give a table"),
    (b"RDX", "an R workspace", "write.csv it"),
    (b"\x80\x04\x95", "a pickle, which is never read", "write CSV or parquet where you trust it"),
    (b"\x80\x05\x95", "a pickle, which is never read", "write CSV or parquet where you trust it"),
    (b"<!DOCTYPE html", "a web page", "download the file itself"),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"version https://git-lfs", "a pointer of Git LFS", "git lfs pull"),
)


def read_bytes(path: Path, size: int = -1) -> bytes:
    """Returns the bytes of a file, unpacked if they are compressed, whatever the file is called.

    Args:
        path: the file.
        size: number of unpacked bytes to read, from the first one on; all by default.

    Raises:
        InputError: the file is unreadable, empty, damaged as far as it was read, or holds no table.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError("the file cannot be read", file=path, got=error.strerror, remedy="check the path") from None
    with file:
        try:
            data = _unpacked(file).read(size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, *DAMAGED) as error:
            got, remedy = str(error) or type(error).__name__, "copy or download it again; it may be cut short"
            raise InputError("the compressed file cannot be unpacked", file=path, got=got, remedy=remedy) from None
    if not data or data.isspace():
        raise InputError("the file is empty", file=path, remedy="check the export that should have written it")
    for start, what, remedy in OTHERS:
        if data.startswith(start):
            raise InputError("not a table", file=path, expected="text or parquet", got=what, remedy=remedy)
    if data[257:262] == b"ustar":
        raise InputError("not a table", file=path, expected="one file", got="a tar archive", remedy=UNPACK)
    return data


def inner_name(path: Path) -> str:
    """The name of a file without the suffix of its compression, in lower case."""
    name = path.name.lower()
    while name.endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    return name


DAMAGED = (zlib.error, lzma.LZMAError, zipfile.BadZipFile, pl.exceptions.PolarsError)


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """Returns a file that reads what another one holds, without its layers of compression."""
    for _ in range(LAYERS):
        start = file.read(10)
        file.seek(0)
        unpack = _unpacker(start)
        if unpack is None:
            break
        file = unpack(file)
    return file


def _unpacker(start: bytes) -> Callable[[IO[bytes]], Any] | None:
    if start.startswith(b"\x1f\x8b\x08"):
        return gzip.open
    if start.startswith(b"BZh") and start[4:10] == b"1AY&SY":
        return bz2.open
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.open
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return _unzstd
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _unzip
    return None


def _unzstd(file: IO[bytes]) -> IO[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14

        return zstd.open(file)
    except ImportError:
        pass
    if not hasattr(pl, "read_lines"):
        raise InputError("the kind of file", got="zstd", remedy="zstd -d it")
    lines = pl.read_lines(io.BytesIO(file.read())).to_series()
    return io.BytesIO("\n".join(lines.to_list()).encode())


def _unzip(file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if "[Content_Types].xml" in names or "content.xml" in names or any(name.endswith(".numbers") for name in names):
        what = "a spreadsheet or document of Office (.xlsx, .ods)"
        raise InputError("not a table", expected="text or parquet", got=what, remedy=SPREADSHEET)
    names = [name for name in names if not name.startswith("__MACOSX/") and not name.rpartition("/")[2].startswith(".")]
    if len(names) != 1:
        got, remedy = ", ".join(names[:5]) or "nothing", "unpack it, and give the file or the folder"
        raise InputError("the zip archive", expected="one file", got=got, remedy=remedy)
    return archive.open(names[0])
