"""Keyword arguments -> a checked settings model; the one place of this room that translates errors in options."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medley.errors import InputError, invalid

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: Mapping[str, Any], *, of: str) -> Model:
    """Builds a settings model.

    Raises:
        InputError: an option is unknown, missing or out of its range.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, InputError):  # raised by a validator: already a sentence for users
            raise cause from None
        raise invalid(error, "option", of=of, known={"options": tuple(model.model_fields)}) from None


def path_of(value: Any, what: str) -> Path:
    """Returns a path.

    Raises:
        InputError: text or a path is expected, for example not a data frame.
    """
    if isinstance(value, str | os.PathLike):
        return Path(value)
    remedy = "data in memory: Dataset.from_frames"
    raise InputError(what, expected="a path", got=type(value).__name__, remedy=remedy)
