"""Names, files and links on the pages exist; tests/models/test_fidelity.py asks more of the fidelity pages."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

import medley
from medley import models
from medley.data import sources

ROOT = Path(__file__).parents[2]
PACKAGE = Path(medley.__file__).parent
OLD = {"CHANGELOG.md", "docs/log.md", "docs/results/tiktok.md", "docs/results/tastes.md"}  # keep the names of their day
PAGES = [
    page
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if page.relative_to(ROOT).as_posix() not in OLD
]
ROOMS = sorted({path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_")})
FOLDERS = ("benchmarks", "docs", "src", "tests", "tools")
DOTTED = re.compile(rf"\b(medley(?:\.\w+)+)|`((?:{'|'.join(ROOMS)})(?:\.\w+)+)`")
FILE = re.compile(rf"`((?:(?:{'|'.join(FOLDERS)})/)[\w./-]+|[\w/-]+\.py|(?:{'|'.join(ROOMS)})/)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
STRANGERS = {  # of authors' code, of the example in docs/add-a-model.md
    "main.py",
    "medley_content/content_mf.py",
    "tests/test_content_mf.py",
}
GROUPS = {models.registry.ENTRY_POINTS, sources.ENTRY_POINTS, "medley.encoders"}  # of entry points: not modules


def _can_be_imported(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def gone_from(text: str, folder: Path) -> list[str]:
    """Names, files and links of a page in `folder` that do not exist."""
    files = (".py", ".md", ".json", ".medley", ".parquet")
    names = {name or short for name, short in DOTTED.findall(text) if not short.endswith(files)}
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
