"""The files of a bundle: a folder, or one zip in which nothing is compressed. Imports no torch.

In a zip every file begins at a multiple of 64 bytes, so that arrays are memory-mapped where they lie. Only names that a
manifest lists are read, and nothing is unpacked.
"""

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from medley.errors import InputError
from medley.files import refuse_existing, staged_file, staged_folder, sync_folder

ALIGNMENT = 64
PADDING = 0xD935  # header id of alignment padding in the extra field, as Android's zipalign uses it
LARGE = 2**31 - 1  # from here on, zip needs its 64-bit fields
LOCAL_HEADER, ZIP64_FIELD = 30, 20  # bytes
CHUNK = 2**22
OLDEST = (1980, 1, 1, 0, 0, 0)  # the date of all files: equal content gives equal bytes
REMEDY = "export the bundle again, or copy it again if it was moved"

Buffers = list[bytes | memoryview]  # the content of a file, in parts


def npy(array: np.ndarray) -> Buffers:
    """Returns the bytes of an .npy file without a copy of a contiguous array."""
    header = io.BytesIO()
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    data = array.reshape(-1).view(np.uint8).data if array.size else b""
    return [header.getvalue(), data]


def size_and_hash(content: Buffers) -> tuple[int, str]:
    """Returns the number of bytes of a file and their sha256."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    return sum(len(part) for part in content), digest.hexdigest()


def write(path: Path, files: Mapping[str, Buffers], *, overwrite: bool) -> None:
    """Writes files in one step: into one zip if the path ends in .medley or .zip, else into a folder.

    Raises:
        InputError: the path exists, and `overwrite` is false.
    """
    if path.suffix in (".medley", ".zip"):
        _write_zip(path, files, overwrite=overwrite)
        return
    with staged_folder(path, overwrite=overwrite) as folder:
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                _copy(content, file)
                file.flush()
                os.fsync(file.fileno())


def _write_zip(path: Path, files: Mapping[str, Buffers], *, overwrite: bool) -> None:
    if path.is_dir():
        raise InputError("a file of this name", file=path, got="a folder", remedy="choose another name")
    refuse_existing(path, overwrite=overwrite)
    with staged_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            _add(archive, file, name, content)
    sync_folder(path.parent)


def _add(archive: zipfile.ZipFile, file: IO[bytes], name: str, content: Buffers) -> None:
    info = zipfile.ZipInfo(name, date_time=OLDEST)
    info.external_attr = 0o644 << 16
    info.file_size = sum(len(part) for part in content)
    large = info.file_size * 1.05 > LARGE  # zipfile decides by the same rule
    begin = file.tell() + LOCAL_HEADER + len(name) + (ZIP64_FIELD if large else 0) + 4
    padding = -begin % ALIGNMENT
    info.extra = struct.pack("<HH", PADDING, padding) + bytes(padding)
    with archive.open(info, "w", force_zip64=large) as target:
        _copy(content, target)


def _copy(content: Buffers, target: Any) -> None:
    for part in content:
        view = memoryview(part)
        for start in range(0, len(view), CHUNK):
            target.write(view[start : start + CHUNK])


class Archive:
    """The files of a folder or zip, for reading.

    Raises:
        InputError: there is no such folder or file, or the file is not a complete zip.
    """

    def __init__(self, path: Path):
        self.path = path
        self._begin: dict[str, tuple[int, int]] | None = None  # name -> first byte and size, in a zip
        if path.is_dir():
            return
        if not path.exists():
            raise InputError("the bundle does not exist", file=path, remedy="check the path, or export it")
        try:
            with zipfile.ZipFile(path) as archive, path.open("rb") as file:
                self._begin = {info.filename: _place(info, file, path) for info in archive.infolist()}
        except (zipfile.BadZipFile, OSError, struct.error, NotImplementedError) as error:
            raise InputError("not a bundle, or a damaged one", file=path, got=str(error), remedy=REMEDY) from None

    def __contains__(self, name: str) -> bool:
        return name in self._begin if self._begin is not None else (self.path / name).is_file()

    def size(self, name: str) -> int:
        """Returns the number of bytes of a file."""
        return self._begin[name][1] if self._begin is not None else (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Returns the content of a file."""
        return b"".join(self._chunks(name))

    def sha256(self, name: str) -> str:
        """Returns the hash of the content of a file."""
        digest = hashlib.sha256()
        for chunk in self._chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def array(self, name: str) -> np.ndarray:
        """Returns the memory-mapped array of an .npy file.

        Raises:
            InputError: not an .npy file of numbers, or cut short.
        """
        begin, size = self._begin[name] if self._begin is not None else (0, self.size(name))
        path = self.path if self._begin is not None else self.path / name
        try:
            with path.open("rb") as file:
                file.seek(begin)
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("an .npy file of another version")
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
            if dtype.hasobject or fortran or dtype.kind not in "biuf":
                raise ValueError(f"an array of {dtype}")
            if offset - begin + dtype.itemsize * int(np.prod(shape, dtype=np.int64)) != size:
                raise ValueError(f"{size:,} bytes for shape {shape}")
            if 0 in shape:
                return np.zeros(shape, dtype)
            return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(f"array {name} of the bundle", file=self.path, got=str(error), remedy=REMEDY) from None

    def _chunks(self, name: str) -> Iterable[bytes]:
        begin, size = self._begin[name] if self._begin is not None else (0, self.size(name))
        path = self.path if self._begin is not None else self.path / name
        with path.open("rb") as file:
            file.seek(begin)
            while size > 0:
                chunk = file.read(min(CHUNK, size))
                if not chunk:
                    return
                size -= len(chunk)
                yield chunk


def _place(info: zipfile.ZipInfo, file: IO[bytes], path: Path) -> tuple[int, int]:
    """Returns the first byte and the size of a file of a zip."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise InputError("not a bundle", file=path, got=f"{info.filename} is compressed or encrypted", remedy=REMEDY)
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    length_of_name, length_of_extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + LOCAL_HEADER + length_of_name + length_of_extra, info.file_size
