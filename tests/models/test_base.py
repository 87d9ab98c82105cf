"""What models share: what they tell people, what they refuse."""

import pytest
import torch

from medley.errors import InputError
from medley.models.base import Insight, at_least


def test_an_insight_is_ranked_from_lists_or_tensors_and_equal_weights_keep_their_order():
    expected = [(7, 0.75), (5, 0.5), (3, 0.25), (4, 0.25)]
    for keys, weights in (
        ([3, 4, 5, 7], [0.25, 0.25, 0.5, 0.75]),
        (torch.tensor([3, 4, 5, 7]), torch.tensor([0.25, 0.25, 0.5, 0.75], requires_grad=True)),
    ):
        insight = Insight.ranked("near", keys, weights, kind="items")
        assert (insight.topic, list(insight.weights.items()), insight.kind) == ("near", expected, "items")


def test_what_has_no_name_is_numbered_from_1():
    insight = Insight.numbered("channels", "channel", torch.tensor([0.25, 0.75]))
    assert list(insight.weights.items()) == [("channel 2", 0.75), ("channel 1", 0.25)] and insight.kind == "names"


def test_counts_that_are_too_small_are_refused_by_name_and_others_are_not():
    at_least(1, "it", num_layers=1, k=7)
    message = r"k of it: expected 1 or more, got 0\. Remedy: ask for one"
    with pytest.raises(InputError, match=message):
        at_least(1, "it", num_layers=1, k=0, remedy="ask for one")
