"""Logs as people have them: files, options, and what the import says. The cases are in `import_cases`, by kind.

A case that is imported says `said` among its oddities; another one ends in one InputError that says it, in this order.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from tests.data.import_cases.case import Case
from tests.data.import_cases.causes import CAUSES
from tests.data.import_cases.features import FEATURES
from tests.data.import_cases.files import FILES
from tests.data.import_cases.formats import FORMATS
from tests.data.import_cases.logs import MMREC
from tests.data.import_cases.meanings import MEANINGS
from tests.data.import_cases.options import OPTIONS

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.inspect import inspect_dataset
from medley.errors import InputError

CASES = [*FILES, *FEATURES, *FORMATS, *OPTIONS, *MEANINGS, *CAUSES]


def write(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        if isinstance(content, str) and name.endswith(".parquet"):
            content = pl.read_csv(content.encode())
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        elif sp.issparse(content):
            sp.save_npz(path, content)
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.format}: {case.name}")
def test_a_log_is_imported_or_refused_and_says_what_a_person_needs(case: Case, tmp_path: Path):
    folder, out = tmp_path / "source", tmp_path / "out"
    folder.mkdir()
    write(folder, case.files)
    if not case.ok:
        with pytest.raises(InputError) as caught:
            import_dataset(case.format, folder / case.source, out, **case.options)
        message, position = str(caught.value), 0
        for part in case.said:
            assert part in message[position:], f"{part!r} is not in {message[position:]!r}"
            position = message.index(part, position) + len(part)
        assert "\n" not in message and not out.exists()
        return
    data = import_dataset(case.format, folder / case.source, out, **case.options)
    Dataset(out, verify=True)
    said = list(inspect_dataset(data).oddities())
    for part in case.said:
        assert any(part in each for each in said), said
    if not case.said:
        assert not [each for each in said if "not read" in each], said
    if case.counts is not None:
        assert tuple(data.manifest.num_interactions.values()) == case.counts
    if case.pairs is not None:
        assert sum(data.manifest.num_interactions.values()) == case.pairs
    if case.modalities is not None:
        assert {name: record.dim for name, record in data.manifest.modalities.items()} == dict(case.modalities)
    if case.titles is not None:
        assert tuple(data.title(row) for row in range(len(data.items))) == case.titles


def test_names_of_cases_are_distinct_and_no_pickle_is_loaded(tmp_path):
    cases = [(case.format, case.name) for case in CASES]
    assert len(set(cases)) == len(cases)

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    folder = tmp_path / "s"
    folder.mkdir()
    bomb = pickle.dumps(Bomb())
    write(folder, {"a.inter": MMREC, "x.npy": bomb, "y.npz": bomb, "z.pkl": bomb})
    import_dataset("mmrec", folder, tmp_path / "out")
    with pytest.raises(InputError):
        import_dataset("pairs", folder / "y.npz", tmp_path / "other")
    assert not (tmp_path / "exploded").exists()
