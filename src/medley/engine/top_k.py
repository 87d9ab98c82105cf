"""Keeping the best few: higher scores first, equal scores by lower row."""

import numba


@numba.njit(inline="always")
def offer(scores, rows, score, row):  # pragma: no cover - compiled
    """Puts (score, row) where it belongs in one node's list of its k best so far; the last of them falls out."""
    place = len(scores)
    while place > 0 and (score > scores[place - 1] or (score == scores[place - 1] and row < rows[place - 1])):
        place -= 1
    if place == len(scores):
        return
    for later in range(len(scores) - 1, place, -1):
        scores[later] = scores[later - 1]
        rows[later] = rows[later - 1]
    scores[place] = score
    rows[place] = row
