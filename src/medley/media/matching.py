"""Which item a name means: exact ids, and repairs of ids that differ in a known way."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from medley.errors import InputError

NUMBERED = re.compile(r"(.+?)(?:[_-]\d{1,4}| ?\(\d{1,4}\))", re.DOTALL)  # 42_1, 42-2, 42 (3)


def _exact(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)  # macOS decomposes letters in file names


def _strip_zeros(text: str) -> str:
    return _exact(text).lstrip("0") or "0"


def _lower(text: str) -> str:
    return _exact(text).casefold()


class Rule(NamedTuple):
    """How ids are compared: the keys of two equal ids are equal."""

    key: Callable[[str], str]
    difference: str  # in the near miss that a hint describes
    by_file: bool = True
    by_folder: bool = True
    to_first_dot: bool = False  # file names end before their first dot


RULES = {
    "exact": Rule(_exact, "as it is"),
    "strip-zeros": Rule(_strip_zeros, "without leading zeros"),
    "lower": Rule(_lower, "in another case"),
    "first-dot": Rule(_exact, "up to the first dot", to_first_dot=True),
    "file": Rule(_exact, "by their file names alone", by_folder=False),
    "folder": Rule(_exact, "by their folders alone", by_file=False),
}
REPAIRS = ("strip-zeros", "lower", "first-dot")  # what `auto` may do
MOST = 0.5  # of the files; `auto` repairs nothing that matches fewer


class Name(NamedTuple):
    """What a medium is called."""

    shown: str  # to people
    file: str  # name with suffix; of a table: the id
    stem: str
    folders: tuple[str, ...] = ()  # the nearest first


@dataclass
class Matches:
    """The result of matching names."""

    rows: list[int | None]  # (n,) item row of each name, None where no item is meant
    reasons: dict[int, str] = field(default_factory=dict)  # place of a name -> why it means no single item
    notes: list[str] = field(default_factory=list)


class Matcher:
    """Matches names with the ids of items."""

    def __init__(self, ids: Sequence[str], rule: str):
        """Takes the ids, in row order.

        Raises:
            InputError: the rule is unknown.
        """
        if rule != "auto" and rule not in RULES:
            raise InputError("id_rule", expected=" or ".join((*RULES, "auto")), got=repr(rule))
        self.ids = ids
        self.rule = rule

    def match(self, names: Sequence[Name]) -> Matches:
        """Returns the item of each name. Repairs and near misses become notes."""
        used = "exact" if self.rule == "auto" else self.rule
        found = self._by(RULES[used], names)
        if names and not any(row is not None for row in found.rows) and not found.reasons and self.rule == "auto":
            repairs = {name: self._by(RULES[name], names) for name in REPAIRS}
            safe = {name: each for name, each in repairs.items() if self._is_safe(each, names)}
            if safe and all(each.rows == next(iter(safe.values())).rows for each in safe.values()):
                used, found = next(iter(safe.items()))
                count = sum(row is not None for row in found.rows)
                example, row = next((name, row) for name, row in zip(names, found.rows, strict=True) if row is not None)
                found.notes.append(
                    f"ids repaired by id_rule='{used}': {count:,} of {len(names):,} names match an item id "
                    f"{RULES[used].difference}, no two ids the same item; none matches exactly. "
                    f"For example {example.shown} is item {self.ids[row]!r}"
                )
        found.notes += self._hints(names, found, used)
        return found

    def _is_safe(self, found: Matches, names: Sequence[Name]) -> bool:
        return not found.reasons and sum(row is not None for row in found.rows) >= MOST * len(names)

    def _by(self, rule: Rule, names: Iterable[Name]) -> Matches:
        rows_of: dict[str, int] = {}
        twice: set[str] = set()
        for row, raw_id in enumerate(self.ids):
            key = rule.key(raw_id)
            if rows_of.setdefault(key, row) != row:
                twice.add(key)
        found = Matches([])
        spellings: defaultdict[int, dict[str, list[int]]] = defaultdict(dict)  # row -> id as written -> places
        for place, name in enumerate(names):
            by_file = _first(rule, _of_file(rule, name), rows_of) if rule.by_file else None
            by_folder = _first(rule, name.folders, rows_of) if rule.by_folder else None
            row = None
            if by_file and by_folder and rows_of[rule.key(by_file)] != rows_of[rule.key(by_folder)]:
                found.reasons[place] = (
                    f"the name means item {by_file!r} and the folder item {by_folder!r}: "
                    "choose id_rule='file' or id_rule='folder'"
                )
            elif (text := by_file or by_folder) is not None:
                row = rows_of[rule.key(text)]
                if rule.key(text) in twice:
                    found.reasons[place] = f"{text!r} means several items under this id_rule"
                    row = None
                else:
                    spellings[row].setdefault(text, []).append(place)
            found.rows.append(row)
        self._refuse_spellings(spellings, found)
        return found

    def _refuse_spellings(self, spellings: dict[int, dict[str, list[int]]], found: Matches) -> None:
        """Of two different ids that a repair maps to one item, only the exact one counts."""
        for row, written in spellings.items():
            if len(written) < 2:
                continue
            for text, places in written.items():
                if text != self.ids[row]:
                    for place in places:
                        found.rows[place] = None
                        found.reasons[place] = f"several different ids mean item {self.ids[row]!r} under this id_rule"

    def _hints(self, names: Sequence[Name], found: Matches, used: str) -> list[str]:
        left = [name for place, name in enumerate(names) if found.rows[place] is None and place not in found.reasons]
        hints = []
        for rule in (each for each in REPAIRS if left and each != used):
            rows = self._by(RULES[rule], left).rows
            near = [name for name, row in zip(left, rows, strict=True) if row is not None]
            if near:
                hints.append(
                    f"{near[0].shown}: {len(near):,} of {len(names):,} names match an item id "
                    f"{RULES[rule].difference}: id_rule='{rule}'"
                )
        return hints


def _of_file(rule: Rule, name: Name) -> Iterable[str]:
    """The ids that a file name may mean, the most literal first."""
    stem = name.file.partition(".")[0] if rule.to_first_dot else name.stem
    yield name.file
    yield stem
    if numbered := NUMBERED.fullmatch(stem):
        yield numbered[1]


def _first(rule: Rule, texts: Iterable[str], rows_of: dict[str, int]) -> str | None:
    return next((text for text in texts if text and rule.key(text) in rows_of), None)
