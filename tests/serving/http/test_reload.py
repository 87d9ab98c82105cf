"""Hot swaps: under load nothing fails, bad bundles are refused, the one before comes back."""

import logging
import os
import threading
import time

import httpx
import pytest
from tests.serving.http.conftest import holding, leased, running, until
from tests.serving.http.fake import FakeService, Journal, write_bundle
from tests.serving.http.test_errors import error

from medley.errors import MedleyError
from medley.serving.http import reload
from medley.serving.http.errors import ApiError
from medley.serving.http.settings import Settings

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def holder(bundle):
    journal = Journal()
    with holding(bundle, lambda: FakeService.open(bundle, journal)) as held:
        yield held


def test_a_reload_swaps_and_a_rollback_brings_the_one_before_back(client, bundle):
    assert client.post("/v1/admin/reload").json()["result"] == "unchanged"
    error(client.post("/v1/admin/rollback"), 409, "no_previous")
    write_bundle(bundle, version=B)
    swap = client.post("/v1/admin/reload").json()
    assert (swap["result"], swap["model_version"], swap["previous"]) == ("swapped", B, A)
    assert client.get("/v1/model").json()["model_version"] == B
    back = client.post("/v1/admin/rollback").json()
    assert (back["result"], back["model_version"], back["previous"]) == ("rolled_back", A, B)
    assert client.get("/v1/recommend/u1").json()["model_version"] == A
    assert client.post("/v1/admin/rollback").json()["model_version"] == B
    text = client.get("/metrics").text
    assert 'medley_reloads_total{result="rolled_back"} 2.0' in text
    assert 'medley_reloads_total{result="swapped"} 1.0' in text
    assert f'medley_model{{model_version="{B}"}} 1.0' in text


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"model_version": "x", "num_users": "many", "num_items": 5, "seed": 0}']
)
def test_a_bad_bundle_is_refused_and_the_live_one_stays(client, bundle, content, caplog):
    (bundle / "manifest.json").write_text(content)
    with caplog.at_level(logging.ERROR):
        found = error(client.post("/v1/admin/reload"), 422, "bundle_refused")
    assert str(bundle) not in str(found) and "bundle refused, the live one stays" in caplog.text
    assert client.get("/v1/recommend/u1").json()["model_version"] == A
    assert 'medley_reloads_total{result="refused"} 1.0' in client.get("/metrics").text


def test_a_bundle_that_cannot_answer_is_refused_and_closed(holder, bundle, monkeypatch):
    opened = []

    class Mute(FakeService):
        def recommend(self, request):
            raise RuntimeError("broken tables")

    write_bundle(bundle, version=B)
    monkeypatch.setattr(holder, "_open", lambda: opened.append(Mute.open(bundle, Journal())) or opened[0])
    with pytest.raises(ApiError) as raised:
        holder.reload()
    assert raised.value.body.code == "bundle_refused" and "broken tables" not in str(raised.value.body)
    assert opened[0].closed
    with leased(holder) as service:
        assert service.model_version == A and not service.closed


def test_a_request_in_flight_finishes_on_its_service_which_is_closed_afterwards(holder, bundle):
    with leased(holder) as old:
        for version in (B, C, A):  # old is live, then kept for a rollback, then retired
            write_bundle(bundle, version=version)
            holder.reload()
        assert not old.closed
        assert old.model().model_version == A
    assert old.closed
    with leased(holder) as service:
        assert service is not old and not service.closed


def test_at_most_two_services_stay_open(holder, bundle):
    services = []
    for number in range(6):
        with leased(holder) as service:
            services.append(service)
        write_bundle(bundle, version=f"{number}" * 64)
        holder.reload()
    assert [service.closed for service in services] == [True] * 5 + [False]
    assert sum(holder.results.values()) == 7


def test_a_write_through_a_replaced_service_is_on_the_live_one(holder, bundle):
    lease = holder.acquire()
    write_bundle(bundle, version=B)
    holder.reload()
    lease.service.delete_item("i7")
    holder.catch_up(lease)
    with leased(holder) as live:
        assert live is not lease.service
        assert "i7" not in [item.id for item in live.recommend(_question()).items]
    holder.release(lease)


def test_writes_since_a_swap_are_there_after_a_rollback(client, bundle):
    write_bundle(bundle, version=B)
    client.post("/v1/admin/reload")
    client.put("/v1/users/late", json={"history": ["i1"]})
    client.post("/v1/admin/rollback")
    assert client.get("/v1/users/late").json()["model_version"] == A


def test_a_write_during_a_rollback_is_there_after_it(holder, bundle, monkeypatch):
    write_bundle(bundle, version=B)
    holder.reload()
    live, previous = holder._live, holder._previous
    catch_up = previous.service.catch_up

    def caught_up():
        catch_up()
        if holder._live is live:  # a request that has ended before the swap
            live.service.delete_item("i7")

    monkeypatch.setattr(previous.service, "catch_up", caught_up)
    holder.rollback()
    with leased(holder) as service:
        assert service.model_version == A
        assert "i7" not in [item.id for item in service.recommend(_question()).items]


@pytest.mark.parametrize("num_good", [1, 2])
def test_a_bundle_that_cannot_catch_up_is_refused_and_closed(holder, bundle, monkeypatch, num_good):
    opened = []

    class Behind(FakeService):
        num_calls = 0

        def catch_up(self):
            self.num_calls += 1
            if self.num_calls > num_good:  # when opened, before the swap, after the swap
                raise MedleyError("the store cannot be used")
            return super().catch_up()

    write_bundle(bundle, version=B)
    with monkeypatch.context() as patch:
        patch.setattr(holder, "_open", lambda: opened.append(Behind.open(bundle, Journal())) or opened[0])
        with pytest.raises(ApiError) as raised:
            holder.reload()
    assert raised.value.body.code == "bundle_refused" and opened[0].closed
    with leased(holder) as service:
        assert service.model_version == A and not service.closed
    assert holder.reload().previous == A


def test_a_rollback_to_a_service_that_cannot_catch_up_changes_nothing(holder, bundle, monkeypatch):
    write_bundle(bundle, version=B)
    holder.reload()
    previous = holder._previous.service

    def fail():
        if holder._live.service is previous:
            raise MedleyError("the store cannot be used")

    monkeypatch.setattr(previous, "catch_up", fail)
    with pytest.raises(MedleyError):
        holder.rollback()
    with leased(holder) as service:
        assert service.model_version == B
    assert not previous.closed


def test_watching_goes_on_after_a_failure(holder, bundle, monkeypatch, caplog):
    reload_now, failed = holder.reload, []

    def fail_once():
        if not failed:
            failed.append(holder._look())
            raise RuntimeError("broken tables")
        return reload_now()

    monkeypatch.setattr(holder, "reload", fail_once)
    holder.watch(0.02)
    write_bundle(bundle, version=B)
    until(lambda: failed)
    until(lambda: holder._live.service.model_version == B)
    assert "broken tables" in caplog.text


def _question():
    from medley.serving.requests import RecommendRequest

    return RecommendRequest(user="u1", k=50)


def test_counters_do_not_fall_when_services_change(client, bundle):
    def fallbacks():
        lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if 'event="fallback_popular"' in line).split()[-1])

    for number in range(4):
        client.get("/v1/recommend/stranger")
        write_bundle(bundle, version=f"{number}" * 64)
        client.post("/v1/admin/reload")
    assert fallbacks() == 4


def test_one_reload_at_a_time(holder, bundle, monkeypatch):
    entered, leave = threading.Event(), threading.Event()
    opened = holder._open
    monkeypatch.setattr(holder, "_open", lambda: entered.set() or (leave.wait(10) and opened()))
    write_bundle(bundle, version=B)
    thread = threading.Thread(target=holder.reload)
    thread.start()
    entered.wait(10)
    for change in (holder.reload, holder.rollback):
        with pytest.raises(ApiError) as raised:
            change()
        assert raised.value.status_code == 409
    leave.set()
    thread.join()
    assert holder.results["swapped"] == 1


def test_a_watched_bundle_is_swapped_when_it_changes_and_a_bad_one_is_tried_once(start, bundle):
    client = start(watch=0.05)
    write_bundle(bundle, version=B)
    until(lambda: client.get("/v1/model").json()["model_version"] == B)
    (bundle / "manifest.json").write_text("{")
    until(lambda: 'reloads_total{result="refused"} 1.0' in client.get("/metrics").text)
    time.sleep(0.3)
    assert 'reloads_total{result="refused"} 1.0' in client.get("/metrics").text
    assert client.get("/v1/model").json()["model_version"] == B
    (bundle / "manifest.json").unlink()
    time.sleep(0.2)
    write_bundle(bundle, version=C)
    until(lambda: client.get("/v1/model").json()["model_version"] == C)


def test_a_bundle_that_is_only_touched_is_not_opened_again(start, bundle):
    client = start(watch=0.05)
    before = FakeService.opened
    os.utime(bundle / "manifest.json")
    until(lambda: 'reloads_total{result="unchanged"} 1.0' in client.get("/metrics").text)
    assert FakeService.opened == before


def test_the_version_is_read_from_a_folder_and_from_a_file(bundle, tmp_path):
    import zipfile

    assert reload.version_at(bundle) == A
    packed = tmp_path / "shop.medley"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(bundle / "manifest.json", "manifest.json")
    assert reload.version_at(packed) == A
    assert reload.version_at(tmp_path / "absent") is None
    (tmp_path / "other").write_text("other")
    assert reload.version_at(tmp_path / "other") is None


def test_no_request_fails_during_twenty_swaps_while_users_ask_and_items_are_added(bundle):
    journal, failures, versions, puts = Journal(), [], set(), []
    stop = threading.Event()

    def ask(number):
        with httpx.Client(base_url=url) as http:
            while not stop.is_set():
                answer = http.get(f"/v1/recommend/u{number}")
                if answer.status_code != 200 or not answer.json()["items"]:
                    failures.append(answer.text)
                versions.add(answer.json()["model_version"])

    def add():
        with httpx.Client(base_url=url) as http:
            while not stop.is_set():
                raw_id = f"new{len(puts)}"
                answer = http.put(f"/v1/items/{raw_id}", json={"features": {"visual": [1.0] * 8}})
                known = http.get(f"/v1/items/{raw_id}")  # acknowledged: every request afterwards sees the item
                if answer.status_code != 200 or known.status_code != 200:
                    failures.append((answer.text, known.text))
                puts.append(raw_id)

    with running(Settings(bundle=bundle, port=0), lambda each: FakeService.open(each.bundle, journal, 0.002)) as url:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)] + [threading.Thread(target=add)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=url, timeout=30) as http:
            for number in range(20):
                write_bundle(bundle, version=f"{number:064d}", seed=number)
                assert http.post("/v1/admin/reload").json()["result"] == "swapped"
            stop.set()
            for thread in threads:
                thread.join()
            assert not failures and len(versions) > 10 and len(puts) > 20
            for raw_id in puts:
                assert http.get(f"/v1/items/{raw_id}").status_code == 200
