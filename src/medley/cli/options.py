"""Options that several commands share, and the parsing of values."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from medley.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="print one JSON document on standard output")]
Out = Annotated[Path, typer.Option("--out", "-o", help="folder to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the folder if it exists")]
Seed = Annotated[int, typer.Option(help="seed of everything that is drawn at random", min=0)]
Assignments = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="may be repeated")]
DatasetFolder = Annotated[Path, typer.Argument(help="data set folder, made by import or simulate")]
RunFolder = Annotated[Path, typer.Argument(help="run folder, made by train")]
MovedDataset = Annotated[Path | None, typer.Option("--dataset", help="folder of the data set, if it was moved")]

FLAGS = (  # parameters of the library that are flags here; all others are set by --set
    *("overwrite", "resume", "dataset", "name", "split", "ratios", "kcore", "rating_threshold", "seed", "device", "at"),
    *("user_column", "item_column", "timestamp_column", "rating_column", "candidates", "out", "metric"),
    *("interactions", "items", "users", "features", "event_column", "title_column", "items_id_column"),
    *("users_id_column", "separator", "header", "encoding", "quote", "decimal", "date_format", "on_error"),
    *("positive", "negative", "unknown_items", "unknown_users", "beyond"),
    *("media", "visual", "acoustic", "textual", "text", "id_rule", "scale", "batch", "jobs"),
)
VALUE = r"True|\.\.\.|'[^']*'|\"[^\"]*\"|[\w.:,-]*[\w:]"


class GroupedHelp(TyperCommand):
    """A command whose many options stand under headings: the `rich_help_panel` of each option."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options, one section per heading."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                by_kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or by_kind, []).append(record)
        for heading in sorted(sections, key=lambda each: (each != "Arguments", each == "Options")):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def with_flags(sentence: str) -> str:
    """Replaces parameters in the remedy of an error by flags: `overwrite=True` -> `--overwrite`."""
    problem, remedy, advice = sentence.partition("Remedy: ")
    return problem + remedy + parameters_as_flags(advice)


def parameters_as_flags(text: str) -> str:
    """Replaces parameters by flags: `rating_threshold=4` -> `--rating-threshold 4`; `features={'a': 'b'}` likewise."""

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        return f"--{name.replace('_', '-')}" + ("" if value in ("True", "...") else f" {value}")

    def names(found: re.Match[str]) -> str:
        return "--header " + ",".join(part.strip("'\"") for part in found[1].split(", "))

    text = re.sub(r"\bheader=\(([^)]*)\)", names, text).replace("header=False", "--header none")
    text = text.replace("quote=None", "--quote ''")
    text = re.sub(r"\bfeatures=\{'([^']*)': '([^']*)'\}", r"--features \1=\2", text)
    return re.sub(rf"(?<![-\w'])(?<!--features )({'|'.join(FLAGS)})=({VALUE})", flag, text)


def import_command(format: str, source: Path, options: Mapping[str, Any], out: Path | None) -> str:
    """The command that imports a source with these options, ready for a shell."""
    words = ["medley", "import", format, str(source)]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            for key, each in value.items():
                words += [flag, f"{key}={each}"]
        elif name == "separator" and value == "\t":
            words += [flag, "tab"]
        elif name == "ratios":
            words += [flag, *map(str, value)]
        elif name not in ("kcore", "seed") or value:
            words += [flag, ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)]
    return shlex.join([*words, "--out", str(out) if out is not None else "DIR"])


def flags_line(flags: Sequence[str], folder: Path | str = "DATASET") -> str:
    """Says in one line which flags the data set of an evaluation has."""
    return f"Flags of the data set: {', '.join(flags)} (medley audit {folder} says more)"


def parse_list(text: str | None) -> tuple[str, ...] | None:
    """`"play, purchase"` -> ("play", "purchase")"""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def parse_header(text: str | None) -> tuple[str, ...] | bool | None:
    """Names of columns; `none` means no header, then the columns are called 1, 2, ..."""
    return False if text is not None and text.strip().lower() in ("none", "false") else parse_list(text)


def parse_separator(text: str | None) -> str | None:
    r"""`tab` and `\t` are a tab; everything else stands for itself."""
    return {"tab": "\t", "\\t": "\t", "blank": " ", "space": " "}.get(text or "", text)


def parse_names(assignments: Sequence[str] | None, *, option: str) -> dict[str, str]:
    """`["visual=image_feat.npy"]` -> {"visual": "image_feat.npy"}

    Raises:
        InputError: no `=`, or a name given twice.
    """
    values: dict[str, str] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name or not value:
            raise InputError(option, expected="NAME=FILE", got=repr(assignment))
        if name in values:
            raise InputError(f"{option} {name}", expected="once", got="twice")
        values[name] = value
    return values


def parse_assignments(assignments: Sequence[str] | None) -> dict[str, Any]:
    """Parses `["dim=32", "combination=concat", "lr=1e-3"]` to typed values; a value that is not JSON stays text.

    Raises:
        InputError: no `=`, or a key given twice.
    """
    return {key: _parse(text) for key, text in split_keys(assignments, option="--set", expected="key=value").items()}


def split_keys(assignments: Sequence[str] | None, *, option: str, expected: str) -> dict[str, str]:
    """Splits `["num-layers=2"]` to {"num_layers": "2"}.

    Raises:
        InputError: no `=`, or a key given twice.
    """
    values: dict[str, str] = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise InputError(option, expected=expected, got=repr(assignment))
        if key in values:
            raise InputError(f"{option} {key}", expected="once", got="twice")
        values[key] = text
    return values


def agreed(flag: str, given: Any, assigned: dict[str, Any]) -> dict[str, Any]:
    """Returns the assignments with the value of a flag, which may not differ from an assigned value.

    Raises:
        InputError: `--seed 3 --set seed=4`.
    """
    if given is None:
        return assigned
    if assigned.get(flag, given) != given:
        got = f"--{flag} {given} and --set {flag}={assigned[flag]}"
        raise InputError(f"two values of {flag}", expected="one", got=got, remedy="leave one of them out")
    return {**assigned, flag: given}


def parse_numbers(text: str, *, option: str) -> tuple[int, ...]:
    """Parses `"10,20"` to (10, 20).

    Raises:
        InputError: not whole numbers of at least 1.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise InputError(option, expected="whole numbers of at least 1, as in 10,20", got=repr(text))
    return numbers


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
