"""What one server is started with."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medley.errors import InputError, invalid

MIB = 1 << 20
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(BaseModel):
    """The settings of a server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: Path
    store: Path | None = None  # None: beside the bundle
    index: Literal["exact", "hnsw", "ivf", "qdrant"] | None = None  # None: by the size of the catalogue
    verify: bool = True  # compare the hashes of the bundle's files

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)  # 0: any free port
    keys: Path | None = None  # None: no keys, and only this machine can connect

    watch: float = Field(0.0, ge=0, allow_inf_nan=False)  # seconds between looks at the bundle's path; 0: never
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)  # requests per second of one key or address
    burst: int | None = Field(None, ge=1)  # requests at once; None: two seconds' worth
    max_body: int = Field(MIB, ge=1024)  # bytes
    max_upload: int = Field(64 * MIB, ge=1024)  # bytes of one or many items with media
    body_seconds: float = Field(30.0, gt=0)  # a request whose body takes longer is given up
    max_waiting: int = Field(512, ge=1)  # requests at once; more are refused instead of queueing without end
    readers: int = Field(default_factory=lambda: max(2, os.cpu_count() or 2), ge=1)  # threads of slow questions
    writers: int = Field(4, ge=1)  # threads of writes
    stop_seconds: int = Field(30, ge=1)  # for requests in flight when the server stops

    @classmethod
    def read(cls, **values: Any) -> Self:
        """Checks settings.

        Raises:
            InputError: a value out of its range, or a burst without a rate.
        """
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise invalid(error, "setting", of="the server") from None
        if settings.burst is not None and settings.rate is None:
            expected = "a rate beside it, without which nothing is limited"
            raise InputError("setting 'burst' of the server", expected=expected, got=f"{settings.burst} alone")
        return settings

    @property
    def store_path(self) -> Path:
        """The file of writes: beside the bundle, whatever version of the bundle is served."""
        return self.store or store_beside(self.bundle)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK


def store_beside(bundle: Path) -> Path:
    """Returns the file in which a server of this bundle keeps its writes: shop.medley -> shop.medley.store."""
    return bundle.with_name(f"{bundle.name}.store")
