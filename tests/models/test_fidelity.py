"""The fidelity pages name the code that computes each equation: every name on them exists."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest

from medley import types
from medley.errors import InputError
from medley.evaluation.evaluator import CANDIDATES
from medley.models.build import check_options, describe
from medley.models.registry import MODELS, find
from medley.runs.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "fidelity").glob("*.md"))
SPAN = re.compile(r"`([^`]+)`")
NAME = re.compile(r"[A-Za-z_][\w.]*")
SETTING = re.compile(r"(\w+)=(\S+)")  # `levels=32,8`, `fusion="sum"`, `reg=1e-1 feature_scale=l2`
LINK = re.compile(r"\]\(([^)#]+)\)")
NOT_OURS = {  # in the authors' code, or a word of a paper
    *("num_layer", "main.py", "Xavier", "--concat=False", "+ u_id"),
    "entropy_loss = indepence_loss = torch.tensor([0.0])",
}
IN_THE_FILE = {"id", "hat", "sqrt", "symmetric"}  # a part of the score, a local variable, values of options


def spans_on(page: Path) -> set[str]:
    """Everything in backticks that is ours."""
    return set(SPAN.findall(page.read_text())) - NOT_OURS


def names_on(page: Path) -> set[str]:
    """Everything in backticks that looks like a Python name."""
    return {span for span in spans_on(page) if NAME.fullmatch(span) and not span.endswith(".py")}


def is_right(span: str, model: str, page: Path) -> bool:
    """Whether what stands in backticks is there: a name, a file, a command, a comment, a value or settings."""
    source = inspect.getsource(import_module(find(model).__module__))
    if span.endswith(".py"):
        return any((ROOT / folder / span).is_file() for folder in ("", "src/medley"))
    if span in IN_THE_FILE:
        return re.search(rf"\b{span}\b", source) is not None
    if NAME.fullmatch(span):
        return exists(span, model)
    if span.startswith("evaluate --candidates "):
        return CANDIDATES.fullmatch(span.split()[-1]) is not None
    if span.startswith(("# eq. ", '"')):
        return span in source
    settings = SETTING.findall(span)
    return " ".join(f"{key}={value}" for key, value in settings) == span and all(
        _is_accepted(key, value.strip('"'), model, page) for key, value in settings
    )


def _is_accepted(key: str, value: str, model: str, page: Path) -> bool:
    """Whether an option of the model takes the value; else, whether what the page names has the option or keyword."""
    models = [each for each in (model, *(names_on(page) & MODELS.keys())) if key in describe(each)["options"]]
    if not models:
        named = [_imported(f"medley.{name}") for name in names_on(page)]
        return any(callable(each) and key in inspect.signature(each).parameters for each in named)
    try:
        return key in check_options(models[0], {key: value})
    except InputError:
        return False


def exists(name: str, model: str) -> bool:
    """Whether a name is a model, a setting, an option of this model, or in its file, in `medley` or in the tests."""
    recommender = find(model)
    if name in MODELS or name in SETTINGS or name in inspect.signature(recommender).parameters:
        return True
    if name.startswith("test_"):
        return any(f"def {name}(" in file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    module = import_module(recommender.__module__)
    return (
        _is_in(module, name) or _is_in(types, name) or _imported(f"medley.{name.removeprefix('medley.')}") is not None
    )


def _is_in(module: ModuleType, name: str) -> bool:
    """Also finds attributes of instances, `Class.attribute`, that a constructor sets."""
    first, _, rest = name.partition(".")
    owner = getattr(module, first, None)
    if owner is None or not rest:
        return owner is not None
    if hasattr(owner, rest):
        return True
    return inspect.isclass(owner) and re.search(rf"self\.{rest}\b", inspect.getsource(owner)) is not None


def _imported(name: str) -> Any:
    try:
        return resolve_name(name)
    except (ImportError, AttributeError):
        return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_whatever_a_fidelity_page_names_exists(page: Path):
    spans = spans_on(page)
    assert len(names_on(page)) > 5 and len(spans) > 10
    assert [span for span in sorted(spans) if not is_right(span, page.stem, page)] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "fidelity.md"], ids=lambda page: page.stem)
def test_files_that_a_fidelity_page_names_or_links_exist(page: Path):
    links = [link for link in LINK.findall(page.read_text()) if not link.startswith("http")]
    assert links and [link for link in links if not (page.parent / link).exists()] == []
    paths = [span for span in spans_on(page) if span.endswith(".py")]
    assert paths and [path for path in paths if not is_right(path, "mmgcn", page)] == []


@pytest.mark.parametrize(
    "span",
    [
        *("LUDP._likeness", "_Gone", "nn.propagation.gone", "graphs.gone", "num_gone", "_Fusion.gone", "test_gone"),
        *("gone", "models/gone.py", "# eq. 99", '"gone"', "gone=1", "fusion=gone", "k=many", "k=5 gone=1"),
        *("hat", "evaluate --candidates some", "a sentence"),
    ],
)
def test_what_is_gone_is_found_out(span: str):
    assert not is_right(span, "ludp", ROOT / "docs/fidelity/ludp.md")
