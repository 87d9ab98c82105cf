"""Processes that may crash, hang or exhaust their memory."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.media.tasks import act

from medley.errors import InputError, MedleyError, MissingExtraError
from medley.media.workers import Failed, Workers

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system counts memory and processes in /proc")


@pytest.fixture(scope="module")
def pool():
    with Workers(act, jobs=2, seconds=20, memory=256) as workers:
        yield workers


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _gone(pid: int, within: float = 5) -> bool:
    end = time.monotonic() + within
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not _alive(pid)


def test_results_come_in_the_order_of_the_tasks_though_later_tasks_end_first(pool):
    tasks = [("sleep", 0.2), ("sleep", 0.0), ("value", 2), ("sleep", 0.1), ("value", 4)]
    assert list(pool.map(tasks)) == [0.2, 0.0, 2, 0.1, 4]


def test_arrays_arrive_as_they_were_sent(pool):
    array = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    task = ("value", {"pieces": [array, array.T], "scalar": np.float64(2.5), "bytes": b"\0" * 100_000})
    (result,) = pool.map([task])
    assert result["pieces"][0].dtype == np.float32
    np.testing.assert_array_equal(result["pieces"][0], array)
    np.testing.assert_array_equal(result["pieces"][1], array.T)
    assert result["scalar"] == 2.5
    assert result["bytes"] == b"\0" * 100_000


def test_a_medium_that_crashes_or_raises_fails_alone(pool):
    results = list(
        pool.map(
            [
                ("value", 0),
                ("signal", signal.SIGSEGV),
                ("value", 2),
                ("abort", None),
                ("signal", signal.SIGKILL),
                ("exit", 3),
                ("media error", "no audio track"),
                ("bug", None),
                ("value", 8),
            ]
        )
    )
    assert results == [
        0,
        Failed("the decoder crashed (SIGSEGV)"),
        2,
        Failed("the decoder crashed (SIGABRT)"),
        Failed("the decoder crashed (SIGKILL)"),
        Failed("the decoder ended its process (exit code 3)"),
        Failed("no audio track"),
        Failed("ZeroDivisionError: division by zero"),
        8,
    ]


def test_a_medium_that_takes_too_long_is_stopped_in_time_and_the_next_one_is_done():
    with Workers(act, jobs=1, seconds=0.5, memory=256) as workers:
        assert list(workers.map([("value", 1)])) == [1]  # the start of a process does not count
        begin = time.monotonic()
        assert list(workers.map([("sleep", 60), ("value", 2)])) == [Failed("takes longer than 0.5 s"), 2]
        assert time.monotonic() - begin < 15


@ON_LINUX
def test_a_medium_that_needs_too_much_memory_fails_alone(pool):
    results = list(pool.map([("allocate", 100), ("allocate", 1000), ("allocate", 100)]))
    assert results == [100 * 2**20, Failed("needs more than 256 MiB of memory"), 100 * 2**20]


@ON_LINUX
def test_a_process_that_has_died_between_two_tasks_is_replaced():
    with Workers(act, jobs=1, seconds=20, memory=256) as workers:
        (pid,) = workers.map([("pid", None)])
        os.kill(pid, signal.SIGKILL)
        os.waitid(
            os.P_PID, pid, os.WEXITED | os.WNOWAIT
        )  # all its threads have ended; its exit code is left to the pool
        (other,) = workers.map([("pid", None)])
        assert isinstance(other, int)
        assert other != pid


def test_what_a_codec_prints_does_not_mix_into_the_results(pool):
    assert list(pool.map([("print", "hello"), ("value", 1)])) == ["hello", 1]


def test_a_process_has_one_thread_ignores_ctrl_c_and_does_not_import_torch(pool):
    (found,) = pool.map([("environment", None)])
    assert found == {"torch": False, "threads": "1", "interrupt": True}


def test_missing_packages_and_wrong_options_are_errors_of_the_caller(pool):
    with pytest.raises(MissingExtraError, match=r"^Decoding needs packages .* pip install 'medley-rec\[media\]'$"):
        list(pool.map([("value", 1), ("missing", "Decoding")]))
    with pytest.raises(InputError, match=r"^the rate$"):
        list(pool.map([("input", "the rate")]))
    assert list(pool.map([("value", 1)])) == [1]


def test_a_result_that_is_neither_array_nor_plain_value_is_refused(pool):
    with pytest.raises(MedleyError, match="the result of a worker holds a pathlib"):
        list(pool.map([("code", "x")]))
    assert list(pool.map([("value", 1)])) == [1]


def test_no_more_tasks_are_begun_than_the_look_ahead():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield ("value", number)

    with Workers(act, jobs=1, seconds=20, memory=256, look_ahead=3) as workers:
        results = workers.map(tasks())
        assert next(results) == 0
        assert len(taken) == 4
        assert list(results) == list(range(1, 100))


def test_tasks_go_on_while_the_caller_works(tmp_path):
    with Workers(act, jobs=1, seconds=20, memory=256, look_ahead=4) as workers:
        list(workers.map([("value", 0)]))
        results = workers.map([("touch", str(tmp_path / str(number))) for number in range(5)])
        next(results)
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(list(tmp_path.iterdir())) == 5  # before anybody asks for them
        assert len(list(results)) == 4


def test_threads_may_share_a_pool(pool):
    results = {}

    def ask(number: int) -> None:
        results[number] = list(pool.map([("value", (number, each)) for each in range(20)]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [(number, each) for each in range(20)] for number in range(4)}


def test_closing_ends_a_running_task_at_once_and_leaves_no_process():
    workers = Workers(act, jobs=2, seconds=60, memory=256)
    pids = [workers.submit(("pid", None)).result() for _ in range(2)]
    future = workers.submit(("sleep", 60))
    time.sleep(0.2)
    begin = time.monotonic()
    workers.close()
    assert time.monotonic() - begin < 5
    assert future.result() == Failed("the work was stopped")
    assert all(_gone(pid) for pid in pids)


def test_an_error_in_the_tasks_reaches_the_caller_and_leaves_no_process():
    def tasks():
        yield ("pid", None)
        raise RuntimeError("the caller's own")

    pids = []
    with pytest.raises(RuntimeError, match="the caller's own"), Workers(act, jobs=1, seconds=20, memory=256) as workers:
        pids = list(workers.map([("pid", None)]))
        list(workers.map(tasks()))
    assert _gone(pids[0])


SCRIPT = """
    import sys, time
    from medley.media.workers import Workers
    from tests.media.tasks import act

    workers = Workers(act, jobs=1, seconds=60, memory=256)  # no guard of __main__, and never closed
    print(*workers.map([("pid", None)]), flush=True)
    {rest}
"""


def _script(rest: str) -> subprocess.Popen:
    code = textwrap.dedent(SCRIPT.format(rest=rest))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 1)])
def test_no_process_outlives_a_parent_that_is_killed_or_interrupted(number, code):
    with _script("next(workers.map([('sleep', 50)]))") as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert _alive(pid)
        parent.send_signal(number)
        assert _gone(pid)
        parent.communicate(timeout=20)
    assert parent.returncode in (code, -signal.SIGINT)


def test_a_script_without_guard_works_and_a_pool_that_is_never_closed_leaves_no_process():
    with _script("") as parent:
        pid = int(parent.stdout.readline())
        _, errors = parent.communicate(timeout=20)
    assert parent.returncode == 0, errors
    assert _gone(pid)


def test_functions_that_cannot_be_sent_and_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="cannot be sent to a worker process"):
        Workers(lambda task: task, jobs=1, seconds=1, memory=256)
    for wrong in ({"jobs": 0}, {"seconds": 0}, {"memory": 0}, {"look_ahead": 0}):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))} of workers"):
            Workers(act, **({"jobs": 1, "seconds": 1, "memory": 256} | wrong))


def test_a_function_that_a_process_cannot_load_is_an_error_not_a_loop():
    with Workers(functools.partial(act), jobs=1, seconds=5, memory=256) as workers:
        workers._processes[0]._setup["function"] = b"cno_such_module\nfunction\n."
        with pytest.raises(MedleyError, match="a worker process cannot start: ModuleNotFoundError"):
            list(workers.map([("value", 1)]))
