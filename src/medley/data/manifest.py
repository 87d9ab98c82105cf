"""What a data set folder says about itself: counts, splits, modalities, and a hash of every part.

The hashes of the parts are derived from the hashes of the files, so manifests of every version have them:

    log                   interactions.parquet
    users, items          users.parquet, items.parquet
    features/<modality>   the values and the presence mask of one modality

The files beside a modality (table of its media, arrays that encode a new item) are in no hash of a part, because
no model reads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from medley.errors import InputError, invalid
from medley.files import read_json, sha256_of_json

FORMAT_VERSION = 1
SPLITS = ("train", "valid", "test")
TRAIN, VALID, TEST = range(len(SPLITS))  # the code of a split is its position in SPLITS
LEFT_OUT = "left_out.parquet"  # ids that the import left out, and why
DISLIKED = "disliked.parquet"  # pairs of rows that are known and not liked
SPLIT_CODES = {split: code for code, split in enumerate(SPLITS)}
MEDIA, FITTED = ".media.parquet", ".fitted.safetensors"  # suffixes of the files beside the arrays of a modality


class FileRecord(BaseModel):
    """Size and hash of one file of the folder."""

    bytes: int
    sha256: str


Stem = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]  # of a file in features/


class ModalityRecord(BaseModel):
    """Shape and origin of one modality."""

    dim: int
    dtype: str
    num_present: int
    made_by: dict[str, Any] | None = None  # encoder and revision, source file and hash, or settings of the simulator
    file: Stem | None = None  # of values and presence mask; None: the modality
    media: Stem | None = None  # of the table of the files that the values were extracted from
    fitted: Stem | None = None  # of the arrays that encode a new item

    def files(self, modality: str) -> tuple[str, str]:
        """The values and the presence mask, relative to the data set folder."""
        stem = self.file or modality
        return f"features/{stem}.npy", f"features/{stem}.present.npy"

    def beside(self) -> dict[str, str]:
        """`media` and `fitted`, as far as the modality has them -> the file, relative to the data set folder."""
        stems = {"media": (self.media, MEDIA), "fitted": (self.fitted, FITTED)}
        return {what: f"features/{stem}{suffix}" for what, (stem, suffix) in stems.items() if stem is not None}

    def all_files(self, modality: str) -> tuple[str, ...]:
        """All files of the modality, relative to the data set folder."""
        return (*self.files(modality), *self.beside().values())


class Manifest(BaseModel):
    """The document manifest.json."""

    format_version: int
    name: str
    num_users: int
    num_items: int
    num_interactions: dict[str, int]  # split -> count
    modalities: dict[str, ModalityRecord]
    oddities: dict[str, int]  # what the import dropped or noticed -> how often
    content_hash: str  # see `hash_of_content`; provenance and dates do not enter
    split_hash: str  # of the (user, item, split) triples, independent of the file format
    files: dict[str, FileRecord]
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _every_part_has_files(self) -> "Manifest":
        tables = [f"{table}.parquet" for table in ("users", "items", "interactions")]
        arrays = [name for modality, record in self.modalities.items() for name in record.all_files(modality)]
        for name in (*tables, *arrays):
            if name not in self.files:
                raise ValueError(f"a record of {name} in files")
        return self

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads the manifest of a data set folder.

        Raises:
            InputError: not a data set folder, or the manifest is damaged or of another version.
        """
        path = folder / "manifest.json"
        if folder.is_file():
            remedy = "import it first: import_dataset('auto', ...) or medley import auto; then give the folder it wrote"
            raise InputError("not a data set folder", file=folder, got="a file", remedy=remedy)
        if not path.exists():
            remedy = "give a folder made by import_dataset (medley import), simulate or Dataset.from_frames"
            raise InputError("not a data set folder", file=folder, got="no manifest.json", remedy=remedy)
        document = read_json(path, remedy="import the data again")
        try:
            manifest = cls.model_validate(document)
        except ValidationError as error:
            raise invalid(error, "field", of="the manifest", file=path, remedy="import the data again") from None
        if manifest.format_version != FORMAT_VERSION:
            raise InputError(
                "format_version of the data set",
                file=path,
                expected=FORMAT_VERSION,
                got=manifest.format_version,
                remedy="import the data again with this version of Medley",
            )
        return manifest

    @property
    def parts(self) -> dict[str, str]:
        """Part of the data set -> hash of its content: `log`, `users`, `items` and `features/<modality>`."""
        hashes = {
            "log": self.files["interactions.parquet"].sha256,
            "users": self.files["users.parquet"].sha256,
            "items": self.files["items.parquet"].sha256,
        }
        for modality, record in self.modalities.items():
            values, present = record.files(modality)
            hashes[f"features/{modality}"] = hash_of_features(self.files[values].sha256, self.files[present].sha256)
        return hashes


def hash_of_features(values: str, present: str) -> str:
    """Hash of a modality, from the hashes of the files of its values and of its presence mask."""
    return sha256_of_json([values, present])


def hash_of_content(files: Mapping[str, FileRecord]) -> str:
    """Hash of what models are trained and judged on: all files but LEFT_OUT, DISLIKED and those beside a modality."""
    hashes = {name: record.sha256 for name, record in files.items() if not name.endswith((MEDIA, FITTED))}
    return sha256_of_json({name: sha256 for name, sha256 in hashes.items() if name not in (LEFT_OUT, DISLIKED)})
