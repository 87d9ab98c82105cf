"""`check_model` accepts a model that keeps the contract, and names the promise that a broken model breaks."""

import subprocess
import sys

import pytest
import torch
from tests.testing.good import Good, like_good

from medley.errors import InputError
from medley.models.base import Count, Insight
from medley.nn.losses import bpr_loss
from medley.testing import CHECKS, check_model
from medley.testing.contract import ignores_the_numbering_of_items
from medley.types import Embeddings


def with_init(change) -> type[Good]:
    """Returns a class whose constructor changes the model at its end."""

    def __init__(self, inputs, *, dim: Count = 8):
        Good.__init__(self, inputs, dim=dim)
        change(self, inputs)

    return like_good(__init__=__init__)


def set_attribute(name, value_of):
    return lambda model, inputs: setattr(model, name, value_of(model, inputs))


def untyped(self, inputs, *, dim=8):
    Good.__init__(self, inputs, dim=dim)


def without_default(self, inputs, *, dim: Count):
    Good.__init__(self, inputs, dim=dim)


def positional(self, inputs, dim: Count = 8):
    Good.__init__(self, inputs, dim=dim)


def unbounded(self, inputs, *, num_heads: int = 8):
    Good.__init__(self, inputs)


def mistyped(self, inputs, *, dim: Count = 0):
    Good.__init__(self, inputs, dim=8)


def remember(self):
    self.last = torch.ones(1)
    return Embeddings(self.p, self.q)


def remember_parts(self):
    self.parts_made = True
    return {}


def counting(self):
    self.epoch = getattr(self, "epoch", 0) + 1


def unsaved(model, inputs):
    model.register_buffer("hidden", torch.rand(model.num_items, 8), persistent=False)


def same_for_all_seeds(model, inputs):
    with torch.no_grad():
        model.p.fill_(0.1)
        model.q.fill_(0.1)


def by_count(model, inputs):
    count = torch.from_numpy(inputs.train.items_per_user()).float()
    model.register_buffer("count", count[:, None], persistent=False)


def change_batch(self, batch):
    batch.user.zero_()
    return bpr_loss(self(), batch)


def hungry(model, inputs):
    model.register_buffer("visual", torch.from_numpy(inputs.features["visual"].values), persistent=False)


BROKEN = [
    (type("Silent", (Good,), {"__module__": Good.__module__}), "the class Silent has no docstring: write one sentence"),
    (like_good(__doc__="No full stop\n\nChoose it now."), "the docstring of Changed has no summary"),
    (like_good(__doc__="A sentence."), "the docstring of Changed does not say when"),
    (like_good(__module__="medley.types"), "the first paragraph of the file's docstring has no link"),
    (like_good(__init__=untyped), "option dim has no type"),
    (like_good(__init__=without_default), "option dim has no default"),
    (like_good(__init__=positional), "dim is not keyword-only"),
    (like_good(__init__=mistyped), "a default is refused: option 'dim' of .* expected 1 or more, got 0"),
    (like_good(__init__=unbounded), "num_heads=-1 is accepted"),
    (with_init(set_attribute("mask", lambda model, _: torch.ones(3))), "the model.mask holds a plain tensor"),
    (with_init(set_attribute("masks", lambda model, _: [torch.ones(3)])), "the model.masks holds a plain tensor"),
    (with_init(same_for_all_seeds), "another seed gives the same scores"),
    (like_good(forward=lambda self: Embeddings(self.p + torch.randn(1), self.q)), "the scores of two calls differ"),
    (like_good(forward=remember), r"(scorer|forward)\(\) changes last"),
    (like_good(parts=remember_parts), r"parts\(\) changes parts_made"),
    (like_good(parts=lambda self: {"id": Embeddings(2 * self.p, self.q)}), "the sum of the parts id differs"),
    (like_good(loss=lambda self, batch: (self.p * 1).sum(dim=1)), "the loss has the shape"),
    (like_good(loss=change_batch), r"loss\(\) changes the batch"),
    (like_good(loss=lambda self, batch: self.p.square().sum()), "the parameter q is not part of the loss"),
    (like_good(loss=lambda self, batch: self.p.sum() * torch.nan + self.q.sum()), "the loss is NaN or infinite"),
    (like_good(loss=lambda self, batch: (0 * self.p).sum().sqrt() + self.q.sum()), "gradient of p is NaN or infinite"),
    (like_good(loss=lambda self, batch: self.p.sum() + 0 * self.q.sum()), "the parameter q has no influence"),
    (like_good(loss=lambda self, batch: -bpr_loss(self(), batch)), "of the recommended items have the user's colour"),
]


def test_a_model_that_keeps_the_contract_passes_by_class_and_by_path():
    check_model(Good, options={"dim": 4})
    check_model(f"{Good.__module__}:Good")


@pytest.mark.parametrize(("model", "sentence"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_promise_is_named_in_a_sentence(model, sentence):
    with pytest.raises(AssertionError, match=sentence) as raised:
        check_model(model)
    assert "breaks a promise: " in str(raised.value) and "\nThe promise: " in str(raised.value)


def test_scores_that_saved_weights_do_not_restore_are_found():
    model = with_init(unsaved)
    model.forward = lambda self: Embeddings(self.p, self.q + self.hidden)
    with pytest.raises(AssertionError, match="the scores differ after load_state_dict"):
        check_model(model)


def test_a_user_without_interactions_who_breaks_the_scores_is_found():
    model = with_init(by_count)
    model.forward = lambda self: Embeddings(self.p / self.count, self.q)
    with pytest.raises(AssertionError, match="scores of a user without interactions are NaN or infinite"):
        check_model(model)


def test_a_modality_that_is_asked_for_by_name_is_found():
    with pytest.raises(AssertionError, match="KeyError: 'visual'\nThe promise: One modality of any name is enough"):
        check_model(with_init(hungry))


def test_an_epoch_that_depends_on_the_epochs_before_is_found():
    model = like_good(start_epoch=counting)
    model.loss = lambda self, batch: bpr_loss(self(), batch) * getattr(self, "epoch", 1)
    with pytest.raises(AssertionError, match=r"the loss of a resumed model differs after start_epoch\(\)"):
        check_model(model)


def test_random_numbers_in_evaluation_mode_are_found_even_where_they_change_nothing():
    model = like_good(loss=lambda self, batch: bpr_loss(self(), batch) + 0 * torch.rand(1).sum())
    with pytest.raises(AssertionError, match="random numbers are drawn in evaluation mode"):
        check_model(model)


def test_scores_that_depend_on_the_numbering_of_items_are_found():
    def numbered(model, inputs):
        model.register_buffer("row", torch.arange(model.num_items)[:, None] / 10, persistent=False)

    model = with_init(numbered)
    model.forward = lambda self: Embeddings(self.p, self.q + self.row)
    with pytest.raises(AssertionError, match="the scores change with the numbering"):
        check_model(model, checks=[ignores_the_numbering_of_items])
    model = like_good(about_item=lambda self, item: [Insight("place", {"row": item / 10})])
    with pytest.raises(AssertionError, match="the insight 'place' changes with the numbering"):
        check_model(model)


def test_a_model_that_does_not_exist_is_refused_as_everywhere():
    with pytest.raises(InputError, match="unknown model"):
        check_model("nonsense")


def test_every_check_has_a_promise_of_its_own():
    assert all(check.__doc__ and check.__doc__.strip().endswith(".") for check in CHECKS)
    assert len({check.__doc__ for check in CHECKS}) == len(CHECKS)


def test_the_module_needs_no_test_framework():
    code = "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None; import medley.testing"
    subprocess.run([sys.executable, "-c", code], check=True)
