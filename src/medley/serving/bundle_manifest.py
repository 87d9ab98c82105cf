"""The document manifest.json of a bundle: what the bundle is, measured quality, and the hash of every file."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from medley.data.manifest import FileRecord
from medley.files import sha256_of_json
from medley.serving.scores import Kind

FORMAT_VERSION = 1
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"  # of a file of the bundle


class Modality(BaseModel):
    """One modality of a bundle."""

    dim: int
    num_present: int
    made_by: dict[str, Any] | None = None  # encoder and revision, as in the manifest of the data set


class Data(BaseModel):
    """The data set of the model."""

    name: str
    parts: dict[str, str]  # part -> hash: `log`, `users`, `items`, `features/<modality>`
    split_hash: str


class BundleManifest(BaseModel):
    """The document manifest.json."""

    model_config = ConfigDict(extra="forbid")

    format_version: int = FORMAT_VERSION
    model_version: str = ""  # sha256 of all other fields
    model: str  # a name of the registry, or an import path
    recipe: dict[str, Any]
    trained_at: str | None = None  # ISO 8601; None: the model came from memory
    data: Data
    metrics: dict[str, dict[str, float]] = {}  # split -> metric -> mean
    fingerprints: dict[str, str] = {}  # split -> hash of the protocol of these metrics
    num_users: int = Field(ge=0)
    num_items: int = Field(ge=0)
    kind: Kind
    parts: dict[str, tuple[int, int]]  # part of the score -> first column, last column + 1
    modalities: dict[str, Modality]
    scores: dict[str, Any]  # what `scores/` holds: names of the weights, tau
    fold_in: dict[str, Any]
    new_items: dict[str, Any]
    cold: Literal["model", "features"] = "model"  # vectors of items without train interactions
    files: dict[str, FileRecord] = {}
    versions: dict[str, str]

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"a plain file name instead of {name!r}")
        return files

    def version(self) -> str:
        """Computes `model_version`."""
        return sha256_of_json(self.model_dump(mode="json", exclude={"model_version"}))
