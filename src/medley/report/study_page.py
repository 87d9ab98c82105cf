"""Writes the report of a study: one self-contained HTML page, and all its tables and pictures as files.

index.html          everything; loads nothing
tables.md           all tables in Markdown
tables.tex          all tables in LaTeX
tables/*.csv        every table with full precision
figures/*           every picture, as .svg and .pdf
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import MissingExtraError
from medley.files import write_atomic
from medley.report.figures.style import embedded, save
from medley.report.study_figures import Shown, study_figures
from medley.report.study_results import Condition, PublishedScores, StudyResults, conditions, provenance, under
from medley.report.study_tables import cost_table, result_tables, settings_table
from medley.report.tables import Table, to_csv, to_html, to_latex, to_markdown
from medley.report.templates import template

try:
    from markupsafe import Markup
except ImportError:
    raise MissingExtraError("The report of a study", "plots") from None


@dataclass(frozen=True)
class Section:
    """A part of the page: the tables and pictures of one condition."""

    heading: str
    anchor: str
    tables: tuple[Table, ...]
    figures: tuple[Shown, ...]
    provenance: str


def write_study(
    results: StudyResults,
    folder: str | Path,
    *,
    published: Sequence[PublishedScores] = (),
    formats: Sequence[str] = (".svg", ".pdf"),
) -> Path:
    """Writes the report of a study. Files of an earlier report with the same names are replaced.

    Args:
        results: of a study.
        folder: where the files are written.
        published: scores that were measured elsewhere, shown below our own.
        formats: endings of the picture files.

    Returns:
        The path of the page.

    Raises:
        InputError: an unknown picture or ending.
    """
    folder, sections = Path(folder), sections_of(results, published)
    for section in sections:
        for shown in section.figures:
            for ending in formats:
                path = folder / "figures" / f"{_file(section, shown.name)}{ending}"
                save(shown.figure, path, description=f"{shown.description}. {section.provenance}")
    tables = [(section, table) for section in sections for table in section.tables]
    for section, table in tables:
        write_atomic(folder / "tables" / f"{_file(section, table.title)}.csv", to_csv(table))
    lines = [f"# {results.study['title']}: {results.data['name']}", "", str(results.study.get("about", "")), ""]
    latex = [f"% {results.study['title']}, {results.data['name']}", ""]
    for section in sections:
        lines += [f"## {section.heading}", "", *(to_markdown(table) for table in section.tables)]
        lines += [f"Made by: {section.provenance}", ""]
        latex += [*(to_latex(table) for table in section.tables), f"% {section.provenance}", ""]
    write_atomic(folder / "tables.md", "\n".join(lines))
    write_atomic(folder / "tables.tex", "\n".join(latex))
    write_atomic(folder / "index.html", page(results, sections))
    return folder / "index.html"


def sections_of(results: StudyResults, published: Sequence[PublishedScores] = ()) -> list[Section]:
    """Returns the sections of a report: one per condition."""
    sections = []
    found = conditions(results)
    for place, condition in enumerate(found):
        rows = under(results, condition)
        tables = [*result_tables(results, condition, published if place == 0 else ()), cost_table(rows)]
        tables.append(settings_table(rows))
        figures, heading = study_figures(results, condition), _capital(str(condition))
        anchor = "" if len(found) == 1 else _anchor(condition)
        sections.append(Section(heading, anchor, tuple(tables), tuple(figures), provenance(results, condition)))
    return sections


def page(results: StudyResults, sections: Sequence[Section]) -> str:
    """Returns the HTML page."""
    return template("study.html").render(
        study=results.study,
        data=results.data,
        counts=_counts(results, conditions(results)),
        sections=[
            {
                "heading": section.heading,
                "anchor": section.anchor or "results",
                "tables": [Markup(to_html(table)) for table in section.tables],
                "figures": [
                    {
                        "svg": Markup(embedded(one.figure, name=_file(section, one.name), description=one.description)),
                        "caption": one.caption,
                    }
                    for one in section.figures
                ],
                "provenance": section.provenance,
            }
            for section in sections
        ],
        skipped=results.skipped,
        made_by=results.made_by,
        versions=results.made_by.get("versions", {}),
    )


def _counts(results: StudyResults, found: Sequence[Condition]) -> dict[str, str]:
    data = results.data
    counts: dict[str, Any] = {"users": data.get("num_users"), "items": data.get("num_items")}
    for split in dict.fromkeys(condition.split for condition in found):
        interactions = data.get("splits", {}).get(split, {}).get("num_interactions", {})
        name = "train / valid / test" if split == "given" else f"{split} split"
        counts[name] = " / ".join(f"{number:,}" for number in interactions.values()) or None
    counts["modalities"] = ", ".join(f"{name} {dim}-d" for name, dim in data.get("modalities", {}).items()) or "none"
    return {name: f"{v:,}" if isinstance(v, int) else str(v) for name, v in counts.items() if v is not None}


def _file(section: Section, name: str) -> str:
    return _slug(f"{section.anchor}-{name}" if section.anchor else name)


def _anchor(condition: Condition) -> str:
    histories = "" if condition.history == "train" else f"-{condition.history}"
    return _slug(f"{condition.split}-{condition.candidates}{histories}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "table"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
