"""What ends a trial or a search early, and that the same call goes on: pruning, the time, kills, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.tuning.searching import SHORT, outcomes, without

import medley
from medley.data.dataset import Dataset
from medley.models.spaces import Log
from medley.runs import Recipe
from medley.runs.history import Epoch
from medley.training import recorder
from medley.training.progress import Progress
from medley.tuning import journal
from medley.tuning.trials import Stop, Watch

pytest.importorskip("optuna", reason="the extra tune is not installed")


def test_a_trial_below_the_median_is_pruned(data, monkeypatch):
    for name, value in (("NUM_UNPRUNED", 2), ("WARMUP", 3), ("NUM_REFERENCES", 1)):
        monkeypatch.setattr(journal, name, value)
    options = {**SHORT, "reg": 1e-3, "patience": 0, "num_epochs": 8}
    tuned = medley.tune("mf", data, trials=10, space={"lr": Log(1e-5, 1e-2)}, seeds=1, **options)
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert pruned and not {one.number for one in tuned.finalists} & {trial.number for trial in pruned}
    for trial in pruned:
        assert 3 <= trial.num_epochs < 8
        before = [one for one in tuned.trials[: trial.number] if one.state == "complete"]
        curves = [medley.train("mf", data, **options, lr=one.params["lr"]).history.epochs for one in before]
        assert len(before) >= 2 and trial.value < np.median([curve[trial.num_epochs - 1].best for curve in curves])


def test_the_time_ends_a_long_trial_at_an_epoch_and_more_time_goes_on(data, tmp_path, monkeypatch):
    long = {**SHORT, "num_epochs": 100_000, "patience": 0, "reg": 1e-2, "lr": 1e-4}
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    begin = time.monotonic()
    tuned = medley.tune("mf", data, seconds=1.5, seeds=1, out=tmp_path / "out", **long)  # reserves nothing for seeds
    assert time.monotonic() - begin < 60 and tuned.ending == "time"
    (trial,) = tuned.trials
    assert trial.state == "stopped" and 0 < trial.num_epochs < 100_000
    shorter = {**without("num_epochs"), "patience": 0, "reg": 1e-2, "lr": 1e-4, "num_epochs": trial.num_epochs}
    assert medley.train("mf", data, **shorter).history.best == trial.value == tuned.best
    again = medley.tune("mf", data, seconds=tuned.seconds + 1.5, seeds=1, out=tmp_path / "out", **long)
    assert again.seconds >= tuned.seconds + 1.0 and again.trials[0].num_epochs > trial.num_epochs


def test_the_watch_stops_after_the_epoch_was_recorded():
    def epoch(number: int) -> Epoch:
        return Epoch(number, 0.0, 0.1, 0.1, 1, 0.0, 0.0)

    shown = []

    class Shown(Progress):
        def epoch(self, epoch):
            shown.append(epoch.epoch)

    watch = Watch(time.time() + 60, shown=Shown())
    watch.epoch(epoch(1))
    watch.batch()
    assert not watch.reason and shown == [1]
    watch = Watch(time.time() + 60, prune=lambda epoch: epoch.epoch == 2)
    watch.epoch(epoch(1))
    watch.batch()
    watch.epoch(epoch(2))
    with pytest.raises(Stop):
        watch.batch()
    assert watch.reason == "pruned"
    late = Watch(time.time() - 1)
    late.epoch(epoch(1))
    assert late.reason == "time"


SCRIPTED = {"dim": 4, "num_epochs": 60, "batch_size": 512, "patience": 0, "progress": False}  # as in the script
SCRIPT = """
import sys, medley
data = medley.load(sys.argv[1])
if __name__ == "__main__":
    medley.tune("mf", data, trials=4, out=sys.argv[2], jobs=int(sys.argv[3]), finalists=1, seeds=2, patience=0,
                dim=4, num_epochs=60, batch_size=512)
"""


def begin(data: Dataset, out: Path, tmp_path: Path, jobs: int = 1) -> subprocess.Popen:
    """Starts a search in a process of its own, and waits until it has finished a trial."""
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(data.folder), str(out), str(jobs)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial "):
            break
    return process


def go_on(data: Dataset, out: Path, monkeypatch) -> tuple:
    """Repeats the call of the script in this process; also the trials that are trained."""
    trained: list[str] = []
    fit = medley.api.training.fit_with

    def noted(*args, **kwargs):
        trained.append(kwargs["out"].name)
        return fit(*args, **kwargs)

    monkeypatch.setattr(medley.api.training, "fit_with", noted)
    tuned = medley.tune("mf", data, trials=4, out=out, finalists=1, seeds=2, **SCRIPTED)
    monkeypatch.undo()
    return tuned, trained


def test_a_killed_search_goes_on_and_repeats_no_finished_trial(data, tmp_path, monkeypatch):
    process = begin(data, tmp_path / "out", tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with (tmp_path / "out" / "optuna.journal").open("ab") as file:
        file.write(b'{"op_code":6,"worker')  # as a kill in the middle of a write would leave it
    (tmp_path / "out" / "optuna.journal.lock").touch()
    tuned, trained = go_on(data, tmp_path / "out", monkeypatch)
    assert len(tuned.trials) == 4 and "trial-0000-seed-0" not in trained and len(trained) == len(set(trained))
    whole = medley.tune("mf", data, trials=4, finalists=1, seeds=2, **SCRIPTED)
    assert outcomes(tuned) == outcomes(whole) and tuned.recipe == whole.recipe


def test_a_kill_between_the_two_notes_of_an_outcome_loses_no_trial(data, tmp_path, monkeypatch):
    from optuna.study import Study

    tell = Study.tell

    def killed(study, number, *args, **kwargs):
        if number == 1:
            raise KeyboardInterrupt
        return tell(study, number, *args, **kwargs)

    monkeypatch.setattr(Study, "tell", killed)
    tuned = medley.tune("mf", data, trials=4, out=tmp_path / "out", seeds=1, **SHORT)
    assert tuned.ending == "interrupted" and [one.state for one in tuned.trials] == ["complete", "stopped"]
    monkeypatch.undo()
    tuned = medley.tune("mf", data, trials=4, out=tmp_path / "out", seeds=1, **SHORT)
    assert outcomes(tuned) == outcomes(medley.tune("mf", data, trials=4, seeds=1, **SHORT))


def test_ctrl_c_reports_the_best_so_far_and_the_same_call_goes_on(data, tmp_path, monkeypatch):
    process = begin(data, tmp_path / "out", tmp_path)
    process.send_signal(signal.SIGINT)
    _, remarks = process.communicate()
    assert process.returncode == 0, remarks
    result = medley.files.read_json(tmp_path / "out" / "result.json", remedy="")
    assert result["ending"] == "interrupted" and result["num_trials"] < 4
    assert Recipe.load(tmp_path / "out" / "recipe.json").model == "mf"
    tuned, trained = go_on(data, tmp_path / "out", monkeypatch)
    assert len(tuned.trials) == 4 and tuned.ending == "trials" and "trial-0000-seed-0" not in trained


def test_several_jobs_train_in_processes_and_ctrl_c_stops_them(data, tmp_path, monkeypatch):
    process = begin(data, tmp_path / "out", tmp_path, jobs=2)
    process.send_signal(signal.SIGINT)
    _, remarks = process.communicate()
    assert process.returncode == 0, remarks
    result = medley.files.read_json(tmp_path / "out" / "result.json", remedy="")
    assert result["ending"] == "interrupted" and result["num_trials"] >= 1
    tuned, trained = go_on(data, tmp_path / "out", monkeypatch)
    assert len(tuned.trials) == 4 and len(trained) == len(set(trained))


@pytest.mark.parametrize("note", [10, 17, 24, 31])
def test_ctrl_c_while_optuna_takes_its_lock_ends_the_search_as_anywhere_else(data, tmp_path, monkeypatch, note):
    notes = 0

    def interrupted(path, *args, open_file=os.open, **kwargs):
        nonlocal notes
        if str(path).endswith(".journal.lock"):
            notes += 1
            if notes == note:
                signal.raise_signal(signal.SIGINT)
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    tuned = medley.tune("mf", data, trials=4, out=tmp_path / "out", finalists=1, seeds=2, **SHORT)
    assert tuned.ending == "interrupted" and notes >= note and signal.getsignal(signal.SIGINT) == handler
    monkeypatch.undo()
    tuned = medley.tune("mf", data, trials=4, out=tmp_path / "out", finalists=1, seeds=2, **SHORT)
    assert outcomes(tuned) == outcomes(medley.tune("mf", data, trials=4, finalists=1, seeds=2, **SHORT))
