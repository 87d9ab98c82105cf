"""Rows of length one, where rows of zeros may occur: items without a modality, users without interactions."""

from torch import Tensor


def lengths(x: Tensor) -> Tensor:
    """Returns |x| by row, (..., 1); 1 where it is 0, which has no direction."""
    squared = x.square().sum(dim=-1, keepdim=True)
    return squared.where(squared > 0, 1.0).sqrt()


def unit(x: Tensor) -> Tensor:
    """Returns rows of length one; rows of zeros stay, and their gradient is that of the identity.

    `torch.nn.functional.normalize` multiplies the gradient of a row of zeros by 1e12, so four layers of it overflow,
    and a mask behind them makes NaN of it.
    """
    return x / lengths(x)
