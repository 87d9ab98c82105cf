"""What the first lines of a text table look like: its separator, and whether it has a header."""

import re
from collections.abc import Iterable

CANDIDATES = ("\t", ",", ";", "|", "::", "||")
BLANKS = r"\s+"  # the separator that stands for any run of blanks
SAMPLE = 200  # lines
USUAL = re.compile(
    r"(user|item|movie|book|product|track|song|artist|video|customer|visitor|session).?id|user|item", re.I
)
USUAL_TOO = re.compile(r"(.*_)?(title|name)|timestamp|time|date|rating|score|event|split|x_label", re.I)
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?", re.I)
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


def first_lines(data: bytes) -> list[str]:
    """Returns the first lines that are not blank; the last one may be cut and is left out of a long file."""
    start = data[:100_000]
    lines = re.split(r"\r\n|\n|\r", start.decode(errors="ignore"))
    lines = lines[:-1] if len(start) < len(data) and len(lines) > 1 else lines
    return [line for line in lines if line.strip()][:SAMPLE]


def likely_separators(data: bytes, quote: str | None = '"') -> list[str]:
    """Returns the separators that cut every one of the first lines into the same number of fields, at least two."""
    lines = first_lines(data)
    if quote and quote in "".join(lines):
        whole = re.escape(quote)
        bare = [re.sub(f"{whole}[^{whole}]*{whole}", "q", line) for line in lines]
    else:
        bare = lines
    if not bare:
        return []
    found = [each for each in CANDIDATES if _fits(line.count(each) for line in bare)]
    if "||" in found and "|" in found:
        found.remove("|")
    if found:
        return found
    if _fits(line.count(" ") for line in bare):
        return [" "]
    return [BLANKS] if _fits(len(line.split()) - 1 for line in bare) else []


def shown(separator: str) -> str:
    r"""How an error writes a separator: "\t" for a tab."""
    return '"' + separator.replace("\t", "\\t") + '"'


def looks_like_data(names: Iterable[str]) -> bool:
    """Recognises a first row that is not a header: it has a number or a moment, and not one usual name of a column."""
    names = [name.strip() for name in names]
    if any(USUAL.fullmatch(name) or USUAL_TOO.fullmatch(name) for name in names):
        return False
    return any(NUMBER.fullmatch(name) or MOMENT.fullmatch(name) for name in names)


def looks_like_header(field: str) -> bool:
    """Recognises a usual name of an id column."""
    return USUAL.fullmatch(field.strip()) is not None


def _fits(counts: Iterable[int]) -> bool:
    counts = set(counts)
    return len(counts) == 1 and counts != {0}
