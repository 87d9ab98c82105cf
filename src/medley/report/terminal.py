"""Prints results on the terminal, as JSON or as tables.

All text from data (ids, titles, paths) is printed as it is, never read as markup. In a pipe a table is as wide as it
needs to be, and has no lines.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import HEAVY_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medley.files import write_atomic

if TYPE_CHECKING:
    from medley.report.page import ExplainedUser
    from medley.report.results import Result
    from medley.serving.explain import Finding

NUMBER = re.compile(r"[-+<]?[\d.,]*%?")  # a dash stands for no number
ENDLESS = 10_000  # columns of a pipe
COLOURS = ("yellow", "blue", "green", "magenta", "red")  # of the parts of a score
BAR_WIDTH = 16
MAX_WEIGHTS, MAX_LINES = 5, 24  # of one finding, and of all findings about one user or item; --json has everything
LABEL_WIDTH, VALUE_WIDTH = 24, 14  # of the columns in a table with one column per run


def console() -> Console:
    """Returns a console on the current standard output."""
    width = None if sys.stdout.isatty() else ENDLESS
    return Console(markup=False, highlight=False, emoji=False, width=width)


@contextmanager
def recorded(svg: Path | None) -> Iterator[Console]:
    """Yields a console on standard output; with a path, the output is also written as an SVG picture."""
    if svg is None:
        yield console()
        return
    recording = Console(markup=False, highlight=False, emoji=False, record=True, width=104)
    yield recording
    picture = recording.export_svg(title="medley demo")
    write_atomic(svg, re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL))  # the rule would load fonts


def show_json(document: object) -> None:
    """Prints one JSON document on standard output."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str | None = None,
    wide: bool = False,
) -> None:
    """Prints a table; columns of numbers are right-aligned, and numbers are never cut.

    Args:
        title: above the table.
        columns: headings.
        rows: one value per column each.
        caption: below the table.
        wide: print one line per row, without lines between, however narrow the terminal.
    """
    table = Table(
        title=Text(title),
        box=HEAVY_HEAD if sys.stdout.isatty() and not wide else None,
        title_justify="left",
        caption=None if caption is None else Text(caption, style="dim"),
        caption_justify="left",
    )
    lines = [[value if isinstance(value, Text) else Text(cell(value)) for value in row] for row in rows]
    for place, column in enumerate(columns):
        numeric = all(NUMBER.fullmatch(line[place].plain) for line in lines)
        table.add_column(Text(column), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for line in lines:
        table.add_row(*line)
    printer = console()
    if wide:
        printer.width = ENDLESS
    printer.print(table)


def show_columns(title: str, columns: Mapping[str, Mapping[str, Any]], *, caption: str | None = None) -> None:
    """Prints a table with one column per run and one row per figure; a narrow terminal gets several tables."""
    names, rows = list(columns), list(dict.fromkeys(row for column in columns.values() for row in column))
    fit = max(1, (console().width - LABEL_WIDTH) // VALUE_WIDTH)
    for first in range(0, len(names), fit):
        chosen = names[first : first + fit]
        body = [(row, *(columns[name].get(row) for name in chosen)) for row in rows]
        last = first + fit >= len(names)
        show_table(title if first == 0 else "", ("", *chosen), body, caption=caption if last else None)


def show_pairs(title: str, pairs: Mapping[str, Any]) -> None:
    """Prints a two-column table of names and values."""
    show_table(title, ("", ""), list(pairs.items()))


def show_line(line: str, *, style: str = "") -> None:
    """Prints one line, which is not wrapped."""
    console().print(Text(line, style=style), soft_wrap=True)


def show_findings(title: str, findings: Sequence["Finding"]) -> None:
    """Prints findings about one user or item, with a bar for every weight, dashed for a negative weight."""
    console().print(Text(f"\n{title}", style="italic"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    most = min(MAX_WEIGHTS, max(1, MAX_LINES // len(findings)))
    for topic, _, weights in findings:
        hidden = f"  {most} of {len(weights):,}" if len(weights) > most else "" if weights else "  none"
        table.add_row(Text.assemble((topic, "bold"), (hidden, "dim")))
        longest = max((abs(each.weight) for each in weights), default=0) or 1
        for key, name, weight in weights[:most]:
            bar = ("━" if weight >= 0 else "╌") * round(abs(weight) / longest * BAR_WIDTH)
            table.add_row(Text(f"  {name or key}"), f"{weight:.4f}", Text(bar, style="green" if weight >= 0 else "red"))
    console().print(table)


def shares_bar(shares: Mapping[str, float]) -> Text:
    """Draws shares as one bar with a colour per share, dashed where a share is negative."""
    bar, filled, size = Text(), 0, 0.0
    for place, share in enumerate(shares.values()):
        size += abs(share)
        end = round(size * BAR_WIDTH)
        bar.append(("━" if share >= 0 else "╌") * (end - filled), style=COLOURS[place % len(COLOURS)])
        filled = end
    return bar


def colour_of(place: int) -> str:
    """Returns the colour of the part of a score at a position."""
    return COLOURS[place % len(COLOURS)]


def cell(value: object) -> str:
    """Formats a value: floats with four digits, counts with separators, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def results_table(results: "Sequence[Result]") -> Table:
    """Returns a table of the test metrics of several runs, the best value of each column in bold."""
    from medley.report.results import best_values  # here: it imports torch, which other tables do not need
    from medley.report.tables import column_title

    best = best_values(results)
    table = Table(title="\nOn the test split", box=None, pad_edge=False, title_justify="left", caption_justify="left")
    table.caption = f"{results[0].evaluation.num_users:,} users; every unseen item competes; settings from validation"
    table.add_column("model", no_wrap=True)
    for name in best:
        title = column_title(name).replace("Precision", "Prec.").replace("@", "\n@")
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for result in results:
        values = [Text(f"{v:.4f}", style="bold green" * (v == best[name])) for name, v in result.shown.items()]
        record = result.record
        table.add_row(Text(result.label), *values, f"{record.seconds:.1f}", f"{record.num_parameters:,}")
    return table


def explained_user(user: "ExplainedUser", explained_by: str) -> Group:
    """Returns the seen items of one user and the explained recommendations, for the terminal."""
    names = list(user.shares)
    heading = Text.assemble("\n", ("User ", "bold"), (user.user, "bold"), f", has seen {user.num_seen:,}, lately:")
    seen = [Text(f"  {title}", style="dim", no_wrap=True, overflow="ellipsis") for title in user.seen[:4]]
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(f"recommended by {explained_by}")
    for place, name in enumerate(names):
        table.add_column(Text(name, style=colour_of(place)), justify="right", no_wrap=True)
    table.add_column("of the score", no_wrap=True)
    for place, item in enumerate(user.recommended, start=1):
        mark = Text.assemble(str(place), (" ✓", "bold green") if item.item in user.found else "")
        table.add_row(mark, Text(item.title or item.item), *_shares(item.shares, names))
    table.add_section()
    table.add_row("", Text("the model, on average", style="italic"), *_shares(user.shares, names))
    table.add_row("", Text("planted taste", style="italic"), *_shares(user.taste, names))
    found = f"✓ seen in the test split, which the model did not know: {len(user.found)} of {user.num_held_out}"
    return Group(heading, *seen, Padding(table, (1, 0, 0, 2), expand=False), Text(f"  {found}", style="dim"))


def _shares(shares: Mapping[str, float], names: Sequence[str]) -> list[Text]:
    """Returns a percentage per name, then all shares as one bar."""
    named = {name: shares.get(name, 0.0) for name in names}
    return [*(Text(f"{share:.0%}") for share in named.values()), shares_bar(named)]
