"""The audit as a whole: known answers on real data, `medley.audit`, and flags of evaluations."""

import json
import time

import pytest
from tests.auditing.conftest import rows_of

import medley
from medley.auditing import audit, quick_flags
from medley.data.importing import import_dataset
from medley.evaluation.evaluator import Evaluation
from medley.runs import Run

OF_ORDER = {"row-order", "id-order", "list-later-rows", "list-popularity-by-row"}


@pytest.fixture(scope="module")
def real(data_folder, tmp_path_factory):
    """Imports a real data set."""

    def read(format, source, **options):
        if not (data_folder / source).exists():
            pytest.skip(f"no {source} in {data_folder}")
        return import_dataset(format, data_folder / source, tmp_path_factory.mktemp("data") / "data", **options)

    return read


def findings_of(data):
    found = audit(data)
    return {finding.name: finding for finding in found.findings}, set(found.flags)


def test_tiktok_is_caught(real):
    data = real("csv", "tiktok")
    found, flags = findings_of(data)
    assert len(data.valid) + len(data.test) == 9_181
    assert found["row-order"].figure == 1 and found["row-order"].details["auc"] == 1
    assert found["row-order"].expected == pytest.approx(0.370, abs=0.001)
    assert {"row-order", "list-later-rows", "list-popularity-by-row", "list-fixed", "popularity-drift"} <= flags
    assert {"few-users", "judged-users", "visual-narrow-cone"} <= flags
    assert found["few-users"].figure == pytest.approx(0.65, abs=0.01)  # of one percent, 94 users
    assert found["judged-users"].figure < 0.01 and found["judged-users"].details["users_with_half_of_train"] == 69
    assert found["list-later-rows"].figure == pytest.approx(0.161, abs=0.001)
    assert found["list-popularity-by-row"].details["slope"] == 3
    assert found["list-popularity-by-row"].figure == pytest.approx(0.121, abs=0.001)
    assert found["list-fixed"].figure > 0.17 and {"5010", "6226"} <= set(found["list-fixed"].details["rows"].split())
    assert quick_flags(data) == ["row-order", "popularity-drift", "few-users", "judged-users"]


def test_microlens_passes_without_flags_of_order_in_well_under_a_second(real):
    data = real("sequences", "microlens-50k/MicroLens-50k_pairs.tsv", split="leave-one-out")
    found, flags = findings_of(data)
    assert not flags & OF_ORDER
    assert found["row-order"].details["test_above_all_earlier"] == pytest.approx(0.156, abs=0.001)
    assert found["row-order"].details["test_above_all_earlier_expected"] == pytest.approx(0.160, abs=0.001)
    assert found["learns-from-the-future"].figure == 0
    again = medley.load(data.folder)
    again.train, again.log  # noqa: B018 (an evaluation has read them)
    start = time.process_time()
    assert quick_flags(again) == ["popularity-drift"]  # what is watched last differs from what is watched first
    assert time.process_time() - start < 1
    start = time.process_time()
    quick_flags(again)
    assert time.process_time() - start < 0.01


def test_lfm2k_passes(real):
    names = {"textual": "all-MiniLM-L6-v2.npy", "acoustic": "vggish.npy", "speech": "whisper.npy"}
    found, flags = findings_of(real("mmrec", "lfm2k", features=names))
    assert flags == {"acoustic-narrow-cone", "speech-narrow-cone"}
    assert found["row-order"].figure < 0.1


def test_simulated_data_pass(simulated):
    assert audit(simulated).flags == []


@pytest.fixture
def late(make, tastes):
    """Rows in order of time."""
    return make(rows_of(tastes, key=lambda item: item))


def test_an_audit_is_a_json_document_and_a_page(late):
    found = medley.audit(late)
    document = json.loads(json.dumps(found.as_dict()))
    assert document["flags"] == found.flags and document["counts"]["train"] == len(late.train)
    assert {"name", "figure", "expected", "is_flag", "why", "remedy"} <= document["findings"][0].keys()
    page = found.to_markdown(made_by="medley audit late")
    assert page.startswith("# Audit of made\n") and "`medley audit late`" in page and "## row-order" in page
    assert all(f"| {finding.name} |" in page for finding in found.findings)


def test_evaluations_carry_the_flags_and_old_evaluations_are_read_without(late, simulated, tmp_path):
    run = medley.train("popularity", late, out=tmp_path / "run", progress=False)
    evaluation = medley.evaluate(run, split="test")
    assert "row-order" in evaluation.flags and Run(tmp_path / "run").evaluation("test").flags == evaluation.flags
    assert medley.compare([run])[0].flags == tuple(evaluation.flags)
    document = evaluation.document()
    del document["flags"]
    assert Evaluation.of(document, evaluation.table()).flags == []
    assert "flags" not in evaluation.protocol
    assert medley.evaluate(medley.build("popularity", simulated), simulated).flags == []
