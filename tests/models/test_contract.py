"""Every model keeps every promise of the contract."""

import pytest

from medley.models import MODELS
from medley.testing import CHECKS, check_model

CASES = [
    *((name, {}) for name in MODELS),
    ("lightgcn", {"use_content": True}),  # with these options alone these read features
    ("macridvae", {"use_content": True}),
    ("sasrec", {"use_content": True}),
    ("gru4rec", {"use_content": True}),
    ("itemknn", {"similarity": "content"}),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: value if isinstance(value, str) else None)
def test_a_model_keeps_its_promises(name, options, check):
    check_model(name, options=options, checks=[check])
