import os
import subprocess
import sys
import threading

import pytest
import torch

from medley.engine import openmp, threads, waiting

gnu = pytest.mark.skipif(not openmp.IS_GNU, reason="torch does not run on GNU's OpenMP here")


def environment_after(code, **variables):
    """What OpenMP would read at the end of `code`, run in a new process whose user has set `variables`."""
    kept = {name: value for name, value in os.environ.items() if name not in waiting.CHOICES}
    show = f"{code}; import os, sys; print('torch' in sys.modules, *(os.environ.get(n) for n in {waiting.CHOICES}))"
    done = subprocess.run(
        [sys.executable, "-c", show], env=kept | variables, check=True, capture_output=True, text=True
    )
    loaded, *values = done.stdout.split()
    return loaded == "True", dict(zip(waiting.CHOICES, values, strict=True))


@pytest.mark.parametrize("code", ["import medley", "import medley.types", "import medley.cli"])
def test_spinning_is_bounded_before_torch_is_loaded(code):
    _, values = environment_after(code)
    assert {name: values[name] for name in waiting.BOUNDS} == waiting.BOUNDS
    assert values["OMP_WAIT_POLICY"] == "None"


@pytest.mark.parametrize("name", waiting.CHOICES)
def test_a_choice_of_the_user_is_left_alone(name):
    _, values = environment_after("import medley", **{name: "7"})
    assert values == dict.fromkeys(waiting.CHOICES, "None") | {name: "7"}


def test_nothing_is_set_too_late():
    loaded, values = environment_after("import sys; sys.modules['torch'] = sys; import medley")
    assert loaded and set(values.values()) == {"None"}


def test_what_medley_has_set_is_not_taken_for_a_choice_of_the_user(monkeypatch):
    for name in waiting.CHOICES:
        monkeypatch.delenv(name, raising=False)
    for name, value in waiting.BOUNDS.items():
        monkeypatch.setenv(name, value)
    assert not waiting.chosen_by_user()
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert waiting.chosen_by_user()


@pytest.fixture
def no_choice(monkeypatch):
    for name in waiting.CHOICES:
        monkeypatch.delenv(name, raising=False)


def holders():
    return [thread for thread in threading.enumerate() if thread.name == "medley-short-waits"]


@gnu
def test_waits_are_short_only_while_others_need_the_cores(no_choice, monkeypatch):
    monkeypatch.setattr(threads, "SECONDS_BETWEEN_LOOKS", 0.01)
    crowded, seen = True, threading.Event()

    def crowd():
        if seen.is_set():
            looked.set()
        return crowded

    looked = threading.Event()
    monkeypatch.setattr(threads._others(), "crowd", crowd)

    def wait_for_two_looks():
        for _ in range(2):
            looked.clear()
            seen.set()
            assert looked.wait(10)

    with threads.sharing_cores():
        wait_for_two_looks()
        assert len(holders()) == 1
        with threads.sharing_cores():  # of an evaluation within a training
            assert len(holders()) == 1
        crowded = False
        wait_for_two_looks()
        assert not holders()
        crowded = True
        wait_for_two_looks()
    assert not holders()


@gnu
def test_sharing_ends_after_an_error_and_leaves_the_number_of_threads(no_choice, monkeypatch):
    monkeypatch.setattr(threads._others(), "crowd", lambda: True)
    before = torch.get_num_threads()
    for _ in range(2):
        with pytest.raises(KeyError), threads.sharing_cores():
            raise KeyError
    assert not holders() and torch.get_num_threads() == before


def test_a_user_who_has_chosen_is_not_helped(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    before = threading.active_count()
    with threads.sharing_cores():
        assert threading.active_count() == before


@pytest.mark.parametrize(("busy", "own_threads", "crowded"), [(0.1, 2, False), (1.0, 2, True), (1.0, 1, False)])
def test_cores_are_crowded_when_torch_has_more_threads_than_others_leave(monkeypatch, busy, own_threads, crowded):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: own_threads)
    clock = [100.0]
    monkeypatch.setattr(threads.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(threads._Others, "_used", staticmethod(lambda: busy * clock[0]))
    others = threads._Others()
    clock[0] += 10
    assert others.crowd() is crowded
