"""Training objectives."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from medley.types import Embeddings, Triplets


def bpr_loss(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Mean over the batch of -ln sigmoid(s_ui - s_uj). Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618.

    Args:
        embeddings: user (U, d) and item (I, d) vectors.
        batch: B triplets.
    """
    user = embeddings.user[batch.user]  # (B, d)
    difference = embeddings.item[batch.pos] - embeddings.item[batch.neg]  # (B, d)
    return F.softplus(-(user * difference).sum(dim=1)).mean()  # -ln sigmoid(x) = softplus(-x)


def l2_of_batch(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Half the squared norm of the rows that the batch touches, per triplet.

    The form of LightGCN's and NGCF's published code: (|e_u|^2 + |e_i|^2 + |e_j|^2) / 2, mean over the batch.
    """
    rows = (embeddings.user[batch.user], embeddings.item[batch.pos], embeddings.item[batch.neg])
    return torch.stack([row.square().sum() for row in rows]).sum() / (2 * len(batch.user))


def l2_of_parameters(parameters: Iterable[Tensor]) -> Tensor:
    """||Theta||^2 over whole parameters, as the papers write it."""
    return torch.stack([parameter.square().sum() for parameter in parameters]).sum()
