"""The declaration of a study: what is compared, under which settings, splits and candidates. A TOML file, or a Python
file with `STUDY = Declaration(...)`; those that Medley ships lie in `experiments/studies/`.
"""

import importlib.util
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medley.data.split import SPLITTERS
from medley.errors import InputError, invalid
from medley.evaluation.evaluator import CANDIDATES, KINDS_OF_CANDIDATES
from medley.evaluation.histories import HISTORIES
from medley.evaluation.metrics import check_metrics
from medley.experiments import studies
from medley.experiments.entries import Entry
from medley.experiments.studies import catalogue
from medley.models.inputs import CONTROLS
from medley.runs import Recipe

FOLDER = Path(studies.__file__).parent
FIGURES = ("comparison", "curve", "recall_at_k", "training", "cost", "ranks")
OVER = ("modalities", "controls")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeclaredEntry(_Part):
    """`[[entries]]`: entries of the catalogue by label or group (`use`), or one of the user's own."""

    use: list[str] = []
    label: str = ""
    model: str = ""
    options: dict[str, Any] = {}  # fixed; of entries of the catalogue: changes
    grid: dict[str, list[Any]] = {}
    trials: int = Field(0, ge=0)  # of a search over the space of the model, in place of a grid
    group: str = ""


class DeclaredVariants(_Part):
    """`[[variants]]`: changes to the settings that were chosen for other entries.

    `each` makes a variant of every combination of its values, `over` one of every subset of the modalities but the
    whole, or of every control of the features (random, constant, shuffled).
    """

    of: list[str]  # labels, or groups of the catalogue
    label: str = ""
    options: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}  # tried anew; without it a variant has the settings of its entry
    each: dict[str, list[Any]] = {}
    over: str = Field("", pattern=rf"^({'|'.join(OVER)})?$")
    parameters_of: str = ""  # label of an entry: `dim` is chosen to have as many parameters
    group: str = ""


class Declaration(_Part):
    """A study, the same for every data set."""

    name: str = ""  # from the name of the file
    title: str
    about: str = ""  # what is asked, and how to read the answer
    papers: list[str] = []  # tables and figures that ask the same
    common: dict[str, Any] = {}  # options and settings of all entries that have such an option
    entries: list[DeclaredEntry] = Field(min_length=1)
    variants: list[DeclaredVariants] = []
    tables: dict[str, list[str]] = {}  # heading -> labels; by default one table per group
    seeds: int = Field(3, ge=1)
    at: list[int] = [10, 20]
    metrics: list[str] = ["recall", "precision", "ndcg"]
    metric: str = "recall@20"  # of comparisons and figures
    candidates: list[str] = Field(["all"], min_length=1)
    splits: list[str] = Field(["given"], min_length=1)  # `given`: as the data set has it
    histories: list[str] = Field(["train"], min_length=1)  # of the users at test: `train`, `fresh`
    groups: bool = True  # recall of cold and warm items, and of sparse and dense users too
    beyond: bool = False  # coverage, novelty and other figures beyond accuracy too
    figures: list[str] = ["comparison"]

    def expand(self, modalities: Sequence[str]) -> tuple[list[Entry], dict[str, str]]:
        """Returns the entries on a data set with these modalities, and label -> why an entry does not apply there.

        Raises:
            InputError: an unknown entry or option, or a label twice.
        """
        entries: dict[str, Entry] = {}
        skipped: dict[str, str] = {}
        for declared in self.entries:
            for entry in _entries(declared, self.common):
                _add(entries, entry)
        for declared in self.variants:
            for system in self._systems(declared, entries):
                made, reason = _variants(declared, system, list(modalities), entries)
                for entry in made:
                    _add(entries, entry)
                if reason:
                    skipped[f"{system.label}: {declared.label or declared.over}"] = reason
        return list(entries.values()), skipped

    def _systems(self, declared: DeclaredVariants, entries: Mapping[str, Entry]) -> Iterator[Entry]:
        labels = [label for name in declared.of for label in catalogue.GROUPS.get(name, (name,))]
        for label in labels:
            if label not in entries:
                expected = " or ".join([*entries, *catalogue.GROUPS])
                raise InputError("variants of", expected=expected, got=repr(label), remedy="add it to the entries")
            yield entries[label]


def _add(entries: dict[str, Entry], entry: Entry) -> None:
    if entry.label in entries:
        raise InputError(f"label {entry.label!r}", expected="once in a study", got="twice", remedy="give it a label")
    try:
        base = entries[entry.variant_of].options if entry.variant_of else {}
        Recipe.of({"model": entry.model, **base, **next(entry.combinations())})
    except InputError as error:
        raise InputError(f"entry {entry.label!r}", got=str(error)) from None
    entries[entry.label] = entry


def _entries(declared: DeclaredEntry, common: Mapping[str, Any]) -> Iterator[Entry]:
    if bool(declared.use) == bool(declared.model):
        raise InputError("an entry", expected="one of `use` and `model`", got="none or both")
    if declared.use:
        unknown = [name for name in declared.use if name not in catalogue.GROUPS and name not in catalogue.BY_LABEL]
        if unknown:
            expected = " or ".join([*catalogue.GROUPS, *catalogue.BY_LABEL])
            raise InputError("use", expected=expected, got=repr(unknown[0]))
        for label in dict.fromkeys(label for name in declared.use for label in catalogue.GROUPS.get(name, (name,))):
            known = catalogue.BY_LABEL[label]
            fixed = {**known.options, **_those_of(known.model, common), **declared.options}
            grid = {key: values for key, values in known.grid.items() if key not in {**common, **declared.options}}
            yield Entry(known.model, label, fixed, {**grid, **declared.grid}, group=declared.group or known.group)
        return
    label = declared.label or declared.model
    options = {**_those_of(declared.model, common), **declared.options}
    group = declared.group or label
    yield Entry(declared.model, label, options, declared.grid, trials=declared.trials, group=group)


def _those_of(model: str, common: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the common options that the model has; all have the settings."""
    from medley.models import describe
    from medley.runs.settings import SETTINGS

    known = {*SETTINGS, *describe(model)["options"]} if common else set()
    return {key: value for key, value in common.items() if key in known}


def _variants(
    declared: DeclaredVariants, system: Entry, modalities: list[str], entries: Mapping[str, Entry]
) -> tuple[list[Entry], str]:
    """Returns the variants of one entry, and why there is none of some kind."""
    if declared.parameters_of and declared.parameters_of not in entries:
        raise InputError("parameters_of", expected=" or ".join(entries), got=repr(declared.parameters_of))
    if declared.parameters_of == system.label:
        return [], ""
    reason, changes = "", [("", {}, None)]
    if declared.over == "modalities":
        changes = [("+".join(subset), {"modalities": list(subset)}, None) for subset in _subsets(modalities)]
        there = f"has {modalities[0]} alone" if modalities else "has no features"
        reason = "" if changes else f"the data set {there}, so there is nothing to leave out"
    elif declared.over == "controls":
        changes = [(name.replace("_", " "), {name: True}, None) for name in CONTROLS]
        reason = "" if modalities else "the data set has no features"
        changes = changes if modalities else []
    elif declared.each:
        points = [dict(zip(declared.each, values, strict=True)) for values in product(*declared.each.values())]
        changes = [(_written(point), point, next(iter(point.values()))) for point in points]
    unknown = [m for m in declared.options.get("modalities") or [] if m not in modalities]
    if unknown:
        return [], f"the data set has no {' and no '.join(unknown)} features"
    entry = [
        Entry(
            system.model,
            f"{system.label}: {', '.join(part for part in (declared.label, written) if part)}",
            {**declared.options, **change},
            declared.grid,
            variant_of=system.label,
            parameters_of=declared.parameters_of,
            group=declared.group or system.group or system.label,
            value=value if isinstance(value, int | float | str) else None if value is None else written,
        )
        for written, change, value in changes
    ]
    return entry, reason


def _written(point: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return "{" + ", ".join(map(str, value)) + "}" if isinstance(value, list | tuple) else str(value)

    return ", ".join(f"{key}={text(value)}" for key, value in point.items())


def _subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the subsets of modalities, small ones first, without the empty one and the whole."""
    return [subset for size in range(1, len(modalities)) for subset in combinations(modalities, size)]


def names() -> list[str]:
    """Returns the names of the studies that Medley ships."""
    return sorted({path.stem for path in FOLDER.glob("*.toml")} | set(catalogue.IN_PYTHON))


def load(name: str | Path) -> Declaration:
    """Loads a study that Medley ships, by name, or a user's own, by the path of a .toml or .py file.

    Raises:
        InputError: no such study, or a declaration with an error, which the message names.
    """
    text = str(name)
    if text in names():
        path = FOLDER / f"{text}.toml"
        path = path if path.exists() else path.with_suffix(".py")
    else:
        path = Path(name)
    if path.suffix not in (".toml", ".py") or not path.is_file():
        expected = f"{', '.join(names())}, or a .toml or .py file"
        raise InputError("study", expected=expected, got=repr(text), remedy="medley study list shows what they ask")
    document = _toml(path) if path.suffix == ".toml" else _python(path)
    try:
        study = document if isinstance(document, Declaration) else Declaration.model_validate(document)
    except ValidationError as error:
        known = {"fields": [*Declaration.model_fields, *DeclaredEntry.model_fields, *DeclaredVariants.model_fields]}
        raise invalid(error, "field", of="the study", file=path, known=known) from None
    _check(study, path)
    return study if study.name else study.model_copy(update={"name": path.stem})


def _check(study: Declaration, path: Path) -> None:
    metric, _, k = study.metric.partition("@")
    lists = {
        "splits": (study.splits, [*SPLITTERS]),
        "histories": (study.histories, [*HISTORIES]),
        "figures": (study.figures, [*FIGURES]),
    }
    for kind, (given, known) in lists.items():
        for each in given:
            if each not in known:
                raise InputError(f"{kind} of the study", file=path, expected=" or ".join(known), got=repr(each))
    for each in study.candidates:
        if not CANDIDATES.fullmatch(each):
            raise InputError("candidates of the study", file=path, expected=KINDS_OF_CANDIDATES, got=repr(each))
    check_metrics(study.metrics, study.at)
    if metric not in study.metrics or not k.isdigit() or int(k) not in study.at:
        expected = " or ".join(f"{name}@{each}" for name in study.metrics for each in study.at)
        raise InputError("metric of the study", file=path, expected=expected, got=repr(study.metric))


def _toml(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("not valid TOML", file=path, got=str(error)) from None


def _python(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"medley_study_{path.stem}".replace("-", "_"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's own and may raise anything
        raise InputError("the file of a study", file=path, got=repr(error)) from error
    if not hasattr(module, "STUDY"):
        raise InputError("the file of a study", file=path, expected="STUDY = Declaration(...)", got="no STUDY")
    return module.STUDY
