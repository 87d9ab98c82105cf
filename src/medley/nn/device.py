"""The device of a network."""

import torch

from medley.errors import InputError


def pick_device(wanted: str) -> torch.device:
    """Returns the device of a setting; `auto` is a GPU if there is one.

    Raises:
        InputError: the machine has no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=wanted)
        return torch.device(wanted)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        raise InputError("device", got=f"{wanted!r} ({problem})", remedy="choose auto or cpu") from None
