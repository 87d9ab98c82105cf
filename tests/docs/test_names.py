"""Names, files and links on the pages exist; a fidelity page also names the code that computes each equation."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

import medley
from medley import models, types
from medley.data import sources
from medley.models.registry import find

ROOT = Path(__file__).parents[2]
PACKAGE = Path(medley.__file__).parent
FIDELITY = sorted((ROOT / "docs" / "fidelity").glob("*.md"))
OLD = {"CHANGELOG.md", "docs/log.md", "docs/results/tiktok.md", "docs/results/tastes.md"}  # keep the names of their day
PAGES = [
    page
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if page.relative_to(ROOT).as_posix() not in OLD
]
ROOMS = sorted({path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_")})
FOLDERS = ("benchmarks", "docs", "src", "tests", "tools")
NAME = re.compile(r"`([A-Za-z_][\w.]*)`")
DOTTED = re.compile(rf"\b(medley(?:\.\w+)+)|`((?:{'|'.join(ROOMS)})(?:\.\w+)+)`")
FILE = re.compile(rf"`((?:(?:{'|'.join(FOLDERS)})/)[\w./-]+|[\w/-]+\.py|(?:{'|'.join(ROOMS)})/)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
STRANGERS = {  # of authors' code, of the example in docs/add-a-model.md
    "main.py",
    "medley_content/content_mf.py",
    "tests/test_content_mf.py",
}
GROUPS = {models.registry.ENTRY_POINTS, sources.ENTRY_POINTS}  # of entry points: not modules
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
        return any(f"def {name}(" in file.read_text() for file in (ROOT / "tests/models").glob("test_*.py"))
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


def gone_from(text: str, folder: Path) -> list[str]:
    """Names, files and links of a page in `folder` that do not exist."""
    names = {name or short for name, short in DOTTED.findall(text) if not short.endswith((".py", ".md"))}
    packages = ("", "medley.", "torch.")  # `nn.init` is ours, `nn.Linear` is torch's
    gone = [name for name in names - GROUPS if not any(_can_be_imported(package + name) for package in packages)]
    prose = FENCED.sub("", text)
    gone += [file for file in FILE.findall(prose) if file not in STRANGERS and not _is_file(file)]
    links = [link for link in LINK.findall(prose) if "://" not in link]
    return sorted([*gone, *(link for link in links if not (folder / link).exists())])


def _is_file(path: str) -> bool:
    """Whether a path leads to something from the repository or the package, or is the name of a file in the package."""
    return (ROOT / path).exists() or (PACKAGE / path).exists() or ("/" not in path and any(PACKAGE.rglob(path)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_name_file_and_link_on_a_page_exists(page: Path):
    assert gone_from(page.read_text(), page.parent) == []


@pytest.mark.parametrize(
    "text",
    [
        "medley.experiments.recipes",
        "`engine.gone.function`",
        "`tools/gone.py`",
        "`nn/team.py`",
        "`gone.py`",
        "[a page](docs/gone.md)",
    ],
)
def test_what_is_gone_from_a_page_is_found(text: str):
    assert len(gone_from(text, ROOT)) == 1


@pytest.mark.parametrize("page", FIDELITY, ids=lambda page: page.stem)
def test_every_name_on_a_fidelity_page_exists(page: Path):
    names = names_on(page)
    assert len(names) > 5
    assert [name for name in sorted(names) if not exists(name, page.stem)] == []


@pytest.mark.parametrize(
    "name", ["LUDP._likeness", "_Gone", "nn.propagation.gone", "graphs.gone", "num_gone", "_Fusion.gone", "test_gone"]
)
def test_a_name_that_is_gone_from_a_fidelity_page_is_found(name: str):
    assert not exists(name, "ludp")
