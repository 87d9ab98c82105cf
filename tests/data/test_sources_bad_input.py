"""Each kind of bad input gets one InputError that names file, row, the expected and the found value. The cases are in
`bad_input`, by kind.
"""

import os
import pickle
from pathlib import Path

import pytest
from tests.data.bad_input.case import LOG, Case, text
from tests.data.bad_input.features import FEATURES
from tests.data.bad_input.formats import FORMATS
from tests.data.bad_input.logs import LOGS
from tests.data.bad_input.parquet import PARQUET
from tests.data.messages import has_in_order

from medley.data.importing import import_dataset
from medley.errors import InputError

CASES = [*LOGS, *FEATURES, *PARQUET, *FORMATS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_gets_one_clear_error_and_leaves_nothing_behind(case: Case, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    case.build(source)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        import_dataset(case.format, source, tmp_path / "out", **case.options)
    has_in_order(str(caught.value), case.message)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_source_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: the source does not exist"):
        import_dataset("csv", tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("format", ["csv", "auto"])
def test_a_pipe_is_not_read(tmp_path, format):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: the source: expected a file or a folder, got a pipe or device"):
        import_dataset(format, tmp_path / "pipe", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    text(("interactions.csv", LOG), ("visual.npy", pickle.dumps(Bomb())))(tmp_path)
    with pytest.raises(InputError, match="a pickle"):
        import_dataset("csv", tmp_path, tmp_path / "out" / "x")
    assert not (tmp_path / "exploded").exists()
