"""Random initial parameters, drawn from torch's default generator, which `models.build` seeds."""

import torch
from torch import nn

from medley.engine.memory import empty


def xavier(num_rows: int, dim: int) -> nn.Parameter:
    """Draws (num_rows, dim), Xavier uniform: bound sqrt(6 / (num_rows + dim)). Glorot & Bengio, AISTATS 2010."""
    table = empty(
        num_rows, dim, dtype=torch.get_default_dtype()
    )  # large pages: row look-ups in a large table are faster
    return nn.Parameter(nn.init.xavier_uniform_(table))


def linear(dim_in: int, dim_out: int) -> nn.Linear:
    """Makes x -> W x without bias, as in the papers; W is Xavier uniform."""
    layer = nn.Linear(dim_in, dim_out, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer


def affine(dim_in: int, dim_out: int) -> nn.Linear:
    """Makes x -> W x + b; W is Xavier uniform, b = 0."""
    layer = nn.Linear(dim_in, dim_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
