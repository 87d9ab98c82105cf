"""The version of the code behind a result: a hash of the source files that can change this result.

A run depends on the training loop, the operators, the graphs, the evaluation on validation, and the file of its own
model; not on the files of other models, and not on what only shows or summarises results. So another model may change,
and the runs of all others stay valid.
"""

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path

import medley
from medley.models import find
from medley.version import __version__

PACKAGE = Path(medley.__file__).parent
ROOMS = ("engine", "scoring", "nn", "graphs", "training")
FILES = (
    *("types.py", "data/dataset.py", "models/base.py", "models/build.py", "models/inputs.py"),
    *("evaluation/evaluator.py", "evaluation/metrics.py", "evaluation/ranking.py", "evaluation/ties.py"),
)
ONLY_SHOW = ("training/progress.py", "training/track.py")
ONLY_SUMMARISE = (
    "evaluation/statistics.py",
    "evaluation/paired.py",
)  # figures that are computed from cached values of users, each time anew


@functools.cache
def code_of_runs(model: str) -> str:
    """Returns the hash of the files that can change a run of a model.

    Args:
        model: a name or an import path, whose module is hashed with the modules of models that it imports.

    Raises:
        InputError: no such model.
    """
    files = [file for room in ROOMS for file in _sources(PACKAGE / room)]
    files += [PACKAGE / name for name in FILES]
    files += _of_model(find(model).__module__)
    return _hash([file for file in files if _name(file) not in ONLY_SHOW])


@functools.cache
def code_of_evaluations() -> str:
    """Returns the hash of the files that can change the evaluation of a trained model."""
    files = [file for room in ("engine", "scoring", "evaluation") for file in _sources(PACKAGE / room)]
    return _hash([file for file in files if _name(file) not in ONLY_SUMMARISE])


def _of_model(module: str) -> list[Path]:
    """Returns the file of a module, and the files of medley.models that it imports, directly or by another."""
    found: dict[str, Path] = {}
    left = [module]
    while left:
        name = left.pop()
        spec = importlib.util.find_spec(name) if name not in found else None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        found[name] = Path(spec.origin)
        left += [each for each in _imports(found[name]) if each.startswith("medley.models.")]
    return list(found.values())


def _imports(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else file.name


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(set(files), key=_name):
        digest.update(_name(file).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
