"""Tasks within a limit of memory, and what people see of them."""

import contextlib
import io
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from medley.data.dataset import Dataset
from medley.errors import InputError, TrainingError
from medley.experiments import scheduler
from medley.experiments.scheduler import Peaks, Resources, _Pool, free_gb, run_all
from medley.experiments.store import Store, Task, Trained
from medley.experiments.watch import Lines, LiveTable, Watch
from medley.runs import Epoch, History, Recipe


def task(model: str, seed: int = 0) -> Task:
    recipe = Recipe.of({"model": model, "seed": seed})
    return Task(f"{model} {seed}", recipe, Path("data"), Path(f"runs/{model}/{seed}"))


def trained(one: Task, *, peak_gb: float = 1.0, seconds: float = 10.0) -> Trained:
    history = History("recall@20", best=0.25, best_epoch=3, seconds=seconds)
    return Trained(one.folder, one.recipe, history, 100, peak_gb, (), ())


class Running:
    """Stands for a process that works on a task."""

    def __init__(self, of: Task):
        self.task = of


def pool(*running: Task, limit: float, jobs: int = 4, **peaks: float) -> _Pool:
    known = Peaks()
    for model, peak in peaks.items():
        known.add(trained(task(model), peak_gb=peak))
    made = _Pool(Resources(jobs=jobs, memory_gb=limit), Watch(), known, {})
    made.workers = [Running(each) for each in running]  # type: ignore[assignment]
    return made


def test_a_task_starts_only_where_its_expected_memory_is_free():
    one, large, small = task("mmgcn", 0), task("mmgcn", 1), task("mf")
    assert pool(one, limit=8, mmgcn=3.0, mf=1.0)._next([large, small]) is large
    assert pool(one, limit=5, mmgcn=3.0, mf=1.0)._next([large, small]) is small  # it passes the one that does not fit
    assert pool(one, limit=3.5, mmgcn=3.0, mf=1.0)._next([large, small]) is None
    assert pool(limit=0.5, mmgcn=3.0)._next([large]) is large  # alone, anything starts
    assert pool(one, limit=100, jobs=1, mmgcn=3.0)._next([large]) is None
    assert pool(one, limit=100)._next([]) is None


def test_an_unknown_model_is_expected_to_take_as_much_as_the_largest_known_one():
    peaks = Peaks()
    assert peaks.estimate(task("mf")) == 1.0
    for peak in (2.0, 4.0, 3.0):
        peaks.add(trained(task("mmgcn"), peak_gb=peak))
    peaks.add(trained(task("mf"), peak_gb=0.5))
    assert peaks.estimate(task("mf")) == 0.5
    assert peaks.estimate(task("mmgcn")) == peaks.estimate(task("ludp")) == 4.0


def test_a_task_whose_process_was_killed_begins_again_alone():
    again, other = task("mmgcn"), task("mf")
    made = pool(other, limit=100)
    made.killed.add((again.folder, again.protocols))
    assert made._next([again]) is None
    made.workers = []
    assert made._next([again]) is again
    made.workers = [Running(again)]  # type: ignore[list-item]
    assert made._next([other]) is None


@pytest.mark.parametrize("wrong", [{"jobs": -1}, {"threads": 0}, {"memory_gb": -1.0}, {"memory_gb": float("nan")}])
def test_resources_out_of_range_are_refused(wrong: dict):
    with pytest.raises(InputError, match="or more"):
        Resources(**wrong)
    assert free_gb() > 0.1


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_container_uses_is_not_free_but_for_the_page_cache(version: int, tmp_path: Path, monkeypatch):
    names = scheduler.CGROUP_FILES[version == 1]
    for name, content in zip(names, ("2147483648\n", "1073741824\n", f"anon 5\n{names[3]} 268435456\n"), strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(scheduler, "CGROUP", tmp_path)
    assert free_gb() == 2 - 1 + 0.25
    (tmp_path / names[0]).write_text("max\n")
    assert free_gb() != 1.25


def test_a_process_that_is_killed_while_it_is_idle_is_replaced(simulated: Dataset, tmp_path: Path):
    killed = []

    class Killer(Watch):
        def finished(self, task: Task, outcome: scheduler.Outcome, *, is_new: bool) -> None:
            super().finished(task, outcome, is_new=is_new)
            for child in multiprocessing.active_children() if not killed else ():
                child.kill()
                child.join()
                killed.append(child)

    store, short = Store(tmp_path), {"model": "mf", "dim": 8, "num_epochs": 1}
    tasks = [store.task(f"MF {seed}", Recipe.of({**short, "seed": seed}), simulated) for seed in (0, 1)]
    outcomes = run_all("test", tasks, Resources(jobs=1, threads=1), Killer(), Peaks())
    assert len(killed) == 1 and all(isinstance(each, Trained) for each in outcomes)


class Noted(Watch):
    """Notes which tasks start and whose process is killed."""

    def __init__(self):
        super().__init__()
        self.notes: list[str] = []

    def started(self, task: Task) -> None:
        super().started(task)
        self.notes.append(f"{task.label} starts")

    def stopped(self, task: Task) -> None:
        super().stopped(task)
        self.notes.append(f"{task.label} stops")

    def finished(self, task: Task, outcome: scheduler.Outcome, *, is_new: bool) -> None:
        super().finished(task, outcome, is_new=is_new)
        self.notes.append(f"{task.label} ends")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="quick processes need fork")
@pytest.mark.parametrize("times", [1, 2])
def test_a_task_whose_process_is_killed_is_tried_once_more(times: int, tmp_path: Path, monkeypatch):
    def work(pipe, threads: int) -> None:  # a process that trains nothing, and is killed so many times by MMGCN
        while True:
            if pipe.recv().recipe.model == "mmgcn":
                with (tmp_path / "tries").open("a") as tries:
                    tries.write(".")
                if (tmp_path / "tries").stat().st_size <= times:
                    os.kill(os.getpid(), signal.SIGKILL)
            pipe.send(("done", (True, False)))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scheduler, "_work", work)
    monkeypatch.setattr(scheduler, "get_context", lambda _: multiprocessing.get_context("fork"))
    monkeypatch.setattr(scheduler, "_result_of", lambda task, peaks: trained(task))
    watch, tasks = Noted(), [task("mmgcn"), task("mf")]
    given_up = pytest.raises(
        TrainingError, match=r"mmgcn 0: its process was killed twice, .*Remedy: a machine with more"
    )
    with given_up if times == 2 else contextlib.nullcontext():
        outcomes = run_all("test", tasks, Resources(jobs=1, threads=1), watch, Peaks())
        assert [each.recipe.model for each in outcomes] == ["mmgcn", "mf"]
    begin = ["mmgcn 0 starts", "mmgcn 0 stops", "mf 0 starts", "mf 0 ends", "mmgcn 0 starts"]
    assert watch.notes == [*begin, *["mmgcn 0 ends"] * (times == 1)]
    assert (tmp_path / "tries").stat().st_size == 2 and not multiprocessing.active_children()


def test_equal_tasks_are_run_once_and_refused_ones_are_returned(simulated: Dataset, tmp_path: Path):
    store, watch = Store(tmp_path), Watch()
    short = {"dim": 8, "num_epochs": 1}
    one, two = (store.task(label, Recipe.of({"model": "mf", **short}), simulated) for label in ("one", "two"))
    bad = Task(
        "bad", Recipe.of({"model": "vbpr", "modalities": ["smell"], **short}), simulated.folder, tmp_path / "bad"
    )
    outcomes = run_all("test", [one, two, bad], Resources(jobs=0), watch, Peaks())
    assert isinstance(outcomes[0], Trained) and outcomes[0] is outcomes[1] and isinstance(outcomes[2], InputError)
    assert (watch.num_trained, watch.num_planned, watch.num_left) == (1, 2, 0)
    with pytest.raises(InputError, match="smell"):
        store.task("bad", bad.recipe, simulated)


def test_the_watch_expects_the_end_by_the_time_of_finished_runs():
    watch = Watch()
    watch.begin("final runs", 5, jobs=2)
    assert watch.seconds_left() is None
    first, second = task("mf", 0), task("mf", 1)
    watch.started(first)
    watch.finished(first, trained(first, seconds=20.0), is_new=True)
    watch.started(second)
    assert (watch.num_done, watch.num_left) == (1, 3)
    assert watch.seconds_left() == (3 * 20 + 20 / 2) / 2
    assert watch.best == {"mf 0": ("recall@20", 0.25)}


def test_a_pipe_gets_a_line_per_result_and_a_terminal_a_table():
    text = io.StringIO()
    lines = Lines(Console(file=text, width=200))
    lines.begin("final runs", 3, jobs=1)
    one, two = task("mf", 0), task("mf", 1)
    lines.found(one, trained(one))
    lines.started(two)
    lines.finished(two, trained(two), is_new=True)
    printed = text.getvalue().splitlines()
    assert printed[0] == "final runs: 3 runs"
    assert printed[1] == "[1/3] mf 0 (defaults): recall@20 0.2500 in epoch 3, 10 s, 1.00 GB (already there)"
    assert printed[2].startswith(
        "[2/3] mf 1 (seed=1): recall@20 0.2500 in epoch 3, 10 s, 1.00 GB; 1 left, until about "
    )

    screen = Console(file=io.StringIO(), width=120, record=True)
    live = LiveTable("Mine", Console(file=io.StringIO(), force_terminal=True))
    live.begin("final runs", 3, jobs=1)
    live.found(one, trained(one))
    live.started(two)
    live.epoch(two, Epoch(7, 0.5, 0.2, 0.3, 6, 1.0, 0.1))
    screen.print(live.table())
    live.close()
    shown = screen.export_text()
    assert "Mine: final runs" in shown and "1 done (1 were there), 1 running, 1 left, until about" in shown
    assert "epoch 7, loss 0.5000" in shown and "0.3000 in epoch 6" in shown and "recall@20 0.2500" in shown
