"""Hot swaps of real services over one store: no write is lost or counted twice, whichever service took it."""

import threading

import pytest
from tests.serving.asking import ask, ids_of_history
from tests.serving.http.conftest import holding, leased, until
from tests.serving.small_bundle import NUM_USERS, write_small_bundle

from medley.serving.http.app import open_service
from medley.serving.http.errors import ApiError
from medley.serving.http.settings import Settings
from medley.serving.requests import Event, ItemRequest, UserRequest
from medley.serving.service import Service

VECTOR = [1.0] * 8
USERS = [f"u{row}" for row in range(NUM_USERS)]


@pytest.fixture
def settings(tmp_path):
    return Settings(bundle=write_small_bundle(tmp_path / "shop.medley"))


@pytest.fixture
def holder(settings):
    with holding(settings.bundle, lambda: open_service(settings)) as held:
        yield held


def write(service, number):
    """Makes one change of every kind."""
    service.put_item(f"new{number}", ItemRequest(attributes={"title": f"New {number}"}, features={"visual": VECTOR}))
    service.put_user(f"guest{number}", UserRequest(history=[f"new{number}", "i3"]))
    service.feedback([Event(user=user, item=f"new{number}") for user in ("u1", f"guest{number}", "stranger")])
    service.delete_item(f"i{10 + number}")
    service.delete_user(f"u{10 + number}")


def check(service, numbers, tmp_path, *, seed):
    """Compares a service with one that is opened anew from the same bundle and store."""
    assert all(service.item(f"new{number}").popularity == 3 for number in numbers)
    assert ids_of_history(service, "stranger") == [f"new{number}" for number in reversed(numbers)]
    bundle = write_small_bundle(tmp_path / "copy.medley", seed=seed)
    fresh = Service.open(bundle, store=service.store.path)
    assert service.model_version == fresh.model_version and service.items(k=200) == fresh.items(k=200)
    for user in (*USERS, "stranger", *(f"guest{number}" for number in numbers)):
        assert ask(service, user=user, k=80) == ask(fresh, user=user, k=80), user
    fresh.close()


def test_writes_before_during_and_after_a_swap_are_in_both_services(holder, settings, tmp_path, monkeypatch):
    old = holder.acquire()
    write(old.service, 0)
    opened = holder._open

    def open_while_others_write():
        service = opened()
        write(old.service, 1)
        return service

    monkeypatch.setattr(holder, "_open", open_while_others_write)
    write_small_bundle(settings.bundle, seed=1)
    assert holder.reload().result == "swapped"
    write(old.service, 2)  # by a request that leased the old service before the swap
    holder.catch_up(old)
    holder.release(old)
    with leased(holder) as live:
        check(live, range(3), tmp_path, seed=1)
        write(live, 3)
    holder.rollback()
    with leased(holder) as back:
        assert back is old.service
        check(back, range(4), tmp_path, seed=0)
        write(back, 4)
    holder.rollback()
    with leased(holder) as again:
        assert again is live
        check(again, range(5), tmp_path, seed=1)


@pytest.mark.parametrize("damage", ["cut off", "another file"])
def test_a_refused_bundle_leaves_the_live_service_with_its_store(holder, settings, tmp_path, damage):
    with leased(holder) as live:
        write(live, 0)
    content = settings.bundle.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(content[: len(content) // 2] if damage == "cut off" else b"not a bundle")
    other.replace(settings.bundle)  # the live service maps the file that was there
    with pytest.raises(ApiError) as raised:
        holder.reload()
    assert raised.value.body.code == "bundle_refused" and holder.results["refused"] == 1
    with leased(holder) as service:
        assert service is live
        write(service, 1)
        check(service, range(2), tmp_path, seed=0)
    with pytest.raises(ApiError, match="no earlier bundle"):
        holder.rollback()
    write_small_bundle(settings.bundle, seed=1)
    assert holder.reload().result == "swapped"
    with leased(holder) as service:
        check(service, range(2), tmp_path, seed=1)


def test_writes_of_a_thread_during_swaps_and_rollbacks_are_each_counted_once(holder, settings, tmp_path):
    written, failures, stop = [], [], threading.Event()

    def keep_writing():
        while not stop.is_set() and not failures:
            try:
                with leased(holder) as service:
                    service.feedback([Event(user="stranger", item="i3", id=f"e{len(written)}")])
                written.append(service)
            except Exception as error:  # whatever it is, the test fails
                failures.append(error)

    with leased(holder) as service:
        before = service.item("i3").popularity

    def swap(seed):
        write_small_bundle(settings.bundle, seed=seed)
        holder.reload()

    thread = threading.Thread(target=keep_writing)
    thread.start()
    for change in (lambda: swap(1), holder.rollback, holder.rollback, lambda: swap(2)):
        until(lambda: failures or written[-1:] == [holder._live.service])
        change()
    until(lambda: failures or written[-1:] == [holder._live.service])
    stop.set()
    thread.join()
    assert not failures and len({id(service) for service in written}) == 3
    for _ in range(2):
        with leased(holder) as service:
            assert service.item("i3").popularity == before + len(written)
        holder.rollback()
