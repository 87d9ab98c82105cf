"""medley extract: a table for people, one document for programs, one sentence for a mistake."""

import json

import pytest
from tests.cli.running import medley
from tests.media import making, toys

from medley.data.dataset import Dataset

pytest.importorskip("PIL")


@pytest.fixture
def folder(tmp_path):
    toys.catalogue(5, tmp_path / "data")
    for item in range(3):
        toys.paint(tmp_path / "media", f"{item}.png", seed=item)
    (tmp_path / "media/2.png").write_bytes(b"not a picture")
    toys.paint(tmp_path / "media", "stranger.png", seed=9)
    return tmp_path


def test_the_result_is_shown_as_a_table_and_as_one_document(folder):
    command = ["extract", folder / "data", "--media", folder / "media", "--visual", toys.COLOURS, "--jobs", 1]
    code, out, err = medley(*command, "--as", "look", "--scale", "l2", "--set", "max_side=50")
    words = " ".join(out.split())
    assert code == 0 and "look" in words and "stranger.png" in words and "2: 2.png" in words and "not an image" in words
    assert "3 of 3 media" in err and "1 failed" in err
    made_by = Dataset(folder / "data").manifest.modalities["look"].made_by
    assert (made_by["scale"], made_by["limits"]["max_side"]) == ("l2", 50)
    code, out, err = medley(*command, "--as", "look", "--scale", "l2", "--set", "max_side=50", "--json")
    document = json.loads(out)
    assert code == 0 and document["changed"] is False and document["unmatched"] == ["stranger.png"]
    look = document["modalities"]["look"]
    assert (look["num_items"], look["num_without"], look["num_failed"], look["num_encoded"]) == (2, 2, 1, 0)
    assert "Nothing has changed" in medley(*command, "--as", "look", "--scale", "l2", "--set", "max_side=50")[1]


def test_inspect_shows_who_made_a_modality_and_what_failed(folder):
    medley("extract", folder / "data", "--media", folder / "media", "--visual", toys.COLOURS, "--jobs", 1)
    _, out, _ = medley("inspect", folder / "data")
    words = " ".join(out.split())
    assert toys.COLOURS in words and "not an image" in words and "2: 2.png" in words
    document = json.loads(medley("inspect", folder / "data", "--json")[1])
    ((reason, failure),) = document["modalities"]["visual"]["failures"].items()
    assert reason.startswith("not an image") and failure == {"count": 1, "examples": ["2: 2.png"]}


def test_text_comes_from_columns_of_the_items(folder):
    code, _, _ = medley("extract", folder / "data", "--text", "title, item_id", "--textual", toys.WORDS)
    assert code == 0 and Dataset(folder / "data").features["textual"].present.all()


def test_a_rule_for_names_finds_items_whose_files_are_named_otherwise(folder):
    (folder / "media/0.png").rename(folder / "media/0000.png")
    command = ["extract", folder / "data", "--media", folder / "media", "--visual", toys.COLOURS, "--jobs", 1]
    medley(*command)
    assert not Dataset(folder / "data").features["visual"].present[0]
    medley(*command, "--id-rule", "strip-zeros")
    assert Dataset(folder / "data").features["visual"].present[0]


def test_sounds_have_their_encoder(folder):
    pytest.importorskip("soundfile")
    (folder / "media/4.wav").write_bytes(making.sounded(making.tone()))
    command = ["extract", folder / "data", "--media", folder / "media", "--acoustic", "logmel", "--jobs", 1]
    code, _, err = medley(*command, "--device", "gpu9")
    assert code == 2 and "gpu9" in err
    code, _, err = medley(*command, "--as", "sound")
    assert code == 0, err
    data = Dataset(folder / "data")
    assert data.features["sound"].present.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no media: expected a folder, a table, or columns of text"),
        (["--media", "{folder}/none"], "none: no media"),
        (["--media", "{folder}/media", "--visual", "no-such"], "unknown encoder"),
        (["--media", "{folder}/media", "--as", "look"], "the name 'look': expected exactly one encoder"),
        (["--media", "{folder}/media", "--visual", "colour-layout", "--set", "pixels=1"], "unknown option 'pixels'"),
        (["--media", "{folder}/media", "--visual", "colour-layout", "--batch", "0"], "option 'batch' of extract"),
        (["--text", "titel"], "titel"),
    ],
)
def test_a_mistake_gets_one_sentence(options, message, folder):
    code, out, err = medley("extract", folder / "data", *(option.format(folder=folder) for option in options))
    assert code == 2 and message in " ".join(err.split()) and out == "" and "Traceback" not in err


def test_an_older_modality_stays_unless_overwrite_is_given(folder):
    import numpy as np

    Dataset(folder / "data").with_modality("visual", np.ones((5, 2)))
    command = ["extract", folder / "data", "--media", folder / "media", "--visual", toys.COLOURS, "--jobs", 1]
    code, _, err = medley(*command)
    assert code == 2 and "was not extracted" in err and "pass --overwrite" in err
    assert medley(*command, "--overwrite")[0] == 0
