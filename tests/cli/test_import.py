"""medley import: a thin line from flags to options, and its messages name flags."""

from pathlib import Path

import numpy as np
import pytest
from tests.cli import running

from medley.cli.options import import_command, parameters_as_flags, parse_header, parse_names, parse_separator
from medley.errors import InputError

LOG = "user_id,item_id,rating\na,x,5\nb,y,1\nb,x,3\n"


def medley(*words: object) -> tuple[int, str]:
    done = running.medley(*words)
    return done.returncode, done.stdout + done.stderr


def test_what_was_noticed_is_said_in_flags(tmp_path: Path):
    (tmp_path / "log.csv").write_text(LOG)
    np.save(tmp_path / "v.npy", np.ones((5, 2)))
    code, shown = medley("import", "csv", tmp_path / "log.csv", "--out", tmp_path / "out")
    assert code == 0 and "--rating-threshold" in shown and "5 rows for" in shown and "rating_threshold" not in shown


def test_auto_without_out_writes_nothing(tmp_path: Path):
    (tmp_path / "log.csv").write_text(LOG)
    code, shown = medley("import", "auto", tmp_path / "log.csv")
    assert code == 0 and shown.splitlines()[-1] == f"medley import csv {tmp_path / 'log.csv'} --out DIR"
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    code, shown = medley("import", "csv", tmp_path / "log.csv")
    assert code == 2 and "no folder to write" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "mf", "{log}", "--out", "{tmp}/run"], "not a data set folder: got a file"),
        (["import", "csv", "{log}", "--out", "{tmp}/o", "--features", "visual"], "expected NAME=FILE"),
        (["import", "csv", "{log}", "--out", "{tmp}/o", "--unknown-items", "maybe"], "'refuse', 'drop' or 'keep'"),
        (["import", "csv", "{log}", "--out", "{tmp}/o", "--on-error", "ignore"], "'refuse' or 'skip'"),
        (["import", "csv", "{log}", "--out", "{tmp}/o", "--positive", "buy"], "--event-column"),
        (["import", "auto", "{tmp}/nothing"], "does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(words, said, tmp_path: Path):
    (tmp_path / "log.csv").write_text(LOG)
    code, shown = medley(*(word.format(log=tmp_path / "log.csv", tmp=tmp_path) for word in words))
    assert code == 2 and said in shown and shown.count("\n") == 1 and not (tmp_path / "o").exists()


def test_parameters_become_flags_whatever_their_value():
    text = "features={'a b': 'x.npy'} or separator=';' or unknown_items=drop, else rating_threshold=... (as in at=10)"
    assert parameters_as_flags(text) == (
        "--features a b=x.npy or --separator ';' or --unknown-items drop, else --rating-threshold (as in --at 10)"
    )


def test_text_of_options_becomes_values():
    assert [parse_separator(text) for text in ("tab", "\\t", "::", None)] == ["\t", "\t", "::", None]
    assert [parse_header(text) for text in ("a, b", "none", None)] == [("a", "b"), False, None]
    assert parse_names(["v=x=y.npy"], option="--features") == {"v": "x=y.npy"}
    with pytest.raises(InputError, match="expected once"):
        parse_names(["v=a", "v=b"], option="--features")
    options = {"separator": "\t", "header": ("a", "b"), "features": {"v": "my file.npy"}, "kcore": 0}
    command = import_command("csv", Path("a b"), options, None)
    assert command == "medley import csv 'a b' --separator tab --header a,b --features 'v=my file.npy' --out DIR"


def test_the_options_stand_under_headings():
    code, shown = medley("import", "--help")
    assert code == 0
    places = [shown.index(f"{heading}:") for heading in ("Which file is what", "What is kept", "Options")]
    assert places == sorted(places)
