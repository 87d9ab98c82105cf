"""Modules side by side."""

from torch import nn

from medley.nn.modules import by_name


def test_modules_by_name_are_part_of_their_owner_and_keep_their_order():
    owner = nn.Module()
    owner.W = by_name({"visual": nn.Linear(2, 1), "acoustic": nn.Linear(3, 1)})
    assert list(owner.W) == ["visual", "acoustic"] and owner.W["acoustic"].in_features == 3
    assert [name for name, _ in owner.named_parameters()][::2] == ["W.visual.weight", "W.acoustic.weight"]
