"""Names that a modality can have."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from medley.errors import InputError
from medley.modality_names import MODALITY_NAME, MODULE_ATTRIBUTES, check_modality_name


def test_the_written_attributes_of_torch_modules_are_complete():
    """In a process of its own: other packages, imported by other tests, add methods to torch's modules."""
    code = "from torch import nn; print(*(name for kind in (nn.ModuleDict, nn.ParameterDict) for name in dir(kind())))"
    attributes = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in attributes if MODALITY_NAME.fullmatch(name)} <= MODULE_ATTRIBUTES


def test_a_module_takes_every_name_that_passes():
    for name in ("visual", "clip-L14", "2d_pose", "title"):
        nn.ModuleDict()[check_modality_name(name)] = nn.Identity()
        nn.ParameterDict()[name] = nn.Parameter(torch.zeros(1))
    for name in ("training", "type", "forward", "get"):
        with pytest.raises(InputError, match=f"torch modules use it themselves, got '{name}'"):
            check_modality_name(name)


@pytest.mark.parametrize("name", ["id", "history", "all", "interactions", "popularity", "cold", "behaviour"])
def test_parts_of_a_score_are_not_modalities(name):
    with pytest.raises(InputError, match="parts of a score have it"):
        check_modality_name(name)
