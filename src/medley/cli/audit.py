"""medley audit"""

import io
import json
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medley.cli.options import DatasetFolder, Json, parameters_as_flags
from medley.files import write_atomic
from medley.report.terminal import show_line, show_table

if TYPE_CHECKING:
    from medley.api import Audit


def audit(
    dataset: DatasetFolder,
    form: Annotated[Literal["text", "markdown"], typer.Option("--format", help="of what is printed")] = "text",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="file to write instead of printing")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="end with exit code 1 if there are flags")] = False,
    json: Json = False,
) -> None:
    """Audit a data set: can a benchmark on it be believed?"""
    from medley import api

    found = api.audit(api.load(dataset))
    text = _document(found, dataset) if json else _text(found, form, dataset, out)
    if out is None:
        print(text, end="")
    else:
        write_atomic(out, text)
        show_line(f"{len(found.flags)} flags; wrote {out}")
    if strict and found.flags:
        raise typer.Exit(1)


def _document(found: "Audit", dataset: Path) -> str:
    return json.dumps({"dataset": str(dataset), **found.as_dict()}, ensure_ascii=False, indent=2) + "\n"


def _text(found: "Audit", form: str, dataset: Path, out: Path | None) -> str:
    if form == "markdown":
        words = ["medley", "audit", str(dataset), "--format", "markdown", *([] if out is None else ["--out", str(out)])]
        return found.to_markdown(made_by=shlex.join(words))
    printed = io.StringIO()
    with redirect_stdout(printed):
        for title, (columns, *rows) in found.tables().items():
            show_table(title, columns, [[parameters_as_flags(cell) for cell in row] for row in rows])
    return printed.getvalue()
