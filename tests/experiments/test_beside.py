"""Published scores beside measured ones."""

import pytest

from medley.errors import InputError
from medley.experiments.papers import PAPERS, published_of
from medley.experiments.papers.beside import beside


def test_every_published_score_is_there_with_its_source_and_selection():
    for name, paper in PAPERS.items():
        for data, published in published_of(paper).items():
            if not published.scores:
                continue
            rows = beside(data, (name,))
            assert [row.metrics for row in rows] == [dict(scores) for scores in published.scores.values()]
            assert all(published.data in row.source and row.selection for row in rows)


def test_variants_carry_the_name_of_their_model():
    labels = [row.label for row in beside("tiktok", ("mmgcn",))]
    assert labels[:3] == ["mmgcn", "MMGCN: co-id", "MMGCN: co"] and "vbpr" in labels


def test_unknown_papers_and_data_sets_are_refused():
    with pytest.raises(InputError, match=r"paper: expected mmgcn or .*, got 'gru4rec'"):
        beside("tiktok", ("gru4rec",))
    with pytest.raises(InputError, match=r"data set of published scores: expected kwai or .*, got 'lfm2k'"):
        beside("lfm2k")
