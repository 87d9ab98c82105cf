"""The fidelity pages name the code that computes each equation: every name on them exists."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

from medley import types
from medley.models.registry import find

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "fidelity").glob("*.md"))
NAME = re.compile(r"`([A-Za-z_][\w.]*)`")
NOT_OURS = {"num_layer", "Xavier"}  # an option of the authors' code, a word of a paper
VALUES = {"id", "hat", "sqrt", "symmetric"}  # a part of the score, a local variable, values of options


def names_on(page: Path) -> set[str]:
    """Everything in backticks that looks like a Python name."""
    names = {name for name in NAME.findall(page.read_text()) if not name.endswith(".py")}
    return names - NOT_OURS - VALUES


def exists(name: str, model: str) -> bool:
    """Whether a name is an option of the model, a name in its file, in `medley` or in the tests of models."""
    recommender = find(model)
    if name in inspect.signature(recommender).parameters:
        return True
    if name.startswith("test_"):
        return any(f"def {name}(" in file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    module = import_module(recommender.__module__)
    return _is_in(module, name) or _is_in(types, name) or _can_be_imported(f"medley.{name.removeprefix('medley.')}")


def _is_in(module: ModuleType, name: str) -> bool:
    """Also finds attributes of instances, `Class.attribute`, that a constructor sets."""
    first, _, rest = name.partition(".")
    owner = getattr(module, first, None)
    if owner is None or not rest:
        return owner is not None
    if hasattr(owner, rest):
        return True
    return inspect.isclass(owner) and re.search(rf"self\.{rest}\b", inspect.getsource(owner)) is not None


def _can_be_imported(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_on_a_fidelity_page_exists(page: Path):
    names = names_on(page)
    assert len(names) > 5
    assert [name for name in sorted(names) if not exists(name, page.stem)] == []


@pytest.mark.parametrize(
    "name", ["LUDP._likeness", "_Gone", "nn.propagation.gone", "graphs.gone", "num_gone", "_Fusion.gone", "test_gone"]
)
def test_a_name_that_is_gone_is_found_out(name: str):
    assert not exists(name, "ludp")
