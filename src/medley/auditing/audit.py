"""The audit of a data set: all findings, and the cheap flags that evaluations carry."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from medley.auditing.concentration import concentration_findings
from medley.auditing.drift import drift_findings
from medley.auditing.features import feature_findings
from medley.auditing.finding import Finding
from medley.auditing.lists import list_findings
from medley.auditing.order import order_findings
from medley.auditing.splits import split_findings
from medley.auditing.users import user_findings
from medley.data.dataset import Dataset

QUICK: tuple[Callable[[Dataset], list[Finding]], ...] = (
    order_findings,
    split_findings,
    drift_findings,
    concentration_findings,
    user_findings,
)
"""Findings about the log alone: sums over its pairs."""

_FLAGS: WeakKeyDictionary[Dataset, list[str]] = WeakKeyDictionary()


class Audit(NamedTuple):
    """The result of `audit`; `as_dict` for programs, `tables` for people."""

    name: str  # of the data set
    split_hash: str
    counts: dict[str, int]  # users, items, and the interactions of every split
    findings: list[Finding]

    @property
    def flags(self) -> list[str]:
        """Names of the findings that are flags."""
        return [finding.name for finding in self.findings if finding.is_flag]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain dicts and numbers, ready for JSON."""
        return {
            "name": self.name,
            "split_hash": self.split_hash,
            "counts": self.counts,
            "flags": self.flags,
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def tables(self) -> dict[str, list[tuple[str, ...]]]:
        """Returns title -> rows of text, the header first: all figures, then what the flags mean."""
        heads = ("finding", "figure", "expected", "±", "flag")
        tables: dict[str, list[tuple[str, ...]]] = {
            f"audit of {self.name}": [heads, *(_row(finding) for finding in self.findings)],
            "in words": [("finding", "in words"), *((each.name, each.says) for each in self.findings)],
        }
        flagged = [(each.name, each.why, each.remedy) for each in self.findings if each.is_flag]
        if flagged:
            tables["flags"] = [("flag", "why it matters", "remedy"), *flagged]
        return tables

    def to_markdown(self, *, made_by: str | None = None) -> str:
        """Returns a page in Markdown; `made_by` is the command that writes the page."""
        counts = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        lines = [f"# Audit of {self.name}", "", f"{counts}; split `{self.split_hash[:12]}`."]
        if made_by is not None:
            lines += ["", f"Made by `{made_by}`. What the figures mean: [evaluation](../evaluation.md#the-audit)."]
        shown = ", ".join(f"`{flag}`" for flag in self.flags) or "none"
        lines += ["", f"**Flags: {len(self.flags)}.** {shown}", ""]
        main, words, *_ = self.tables().values()
        for (heads, *rows), kinds in ((main, "|---|--:|--:|--:|---|"), (words, "|---|---|")):
            lines += [_line(heads), kinds, *map(_line, rows), ""]
        for finding in self.findings:
            if finding.is_flag:
                remedy = finding.remedy[0].upper() + finding.remedy[1:]
                lines += [f"## {finding.name}", "", f"{finding.why} *Remedy:* {remedy}.", ""]
        return "\n".join(lines)


def audit(data: Dataset) -> Audit:
    """Audits a data set: order of rows, splits, drift, concentration, users, features, and lists for everybody."""
    kinds = (*QUICK, feature_findings, list_findings)
    found = [finding for kind in kinds for finding in kind(data)]
    m = data.manifest
    counts = {"users": m.num_users, "items": m.num_items, **m.num_interactions}
    return Audit(m.name, m.split_hash, counts, found)


def quick_flags(data: Dataset) -> list[str]:
    """Returns the names of the flags that the log alone shows; computed once per `Dataset` object."""
    if data not in _FLAGS:
        _FLAGS[data] = [finding.name for kind in QUICK for finding in kind(data) if finding.is_flag]
    return list(_FLAGS[data])


def _row(finding: Finding) -> tuple[str, ...]:
    expected, error = (("-" if value is None else _number(value)) for value in (finding.expected, finding.error))
    return finding.name, _number(finding.figure), expected, error, "FLAG" if finding.is_flag else "-"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) > 1 else f"{value:.4f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
