"""The service: changes, and what it remembers."""

import logging
import threading

import numpy as np
import polars as pl
import pytest
from tests.serving.asking import ask, features_of, ids, ids_of_history

import medley
from medley.errors import InputError, MedleyError, NotFoundError
from medley.serving.requests import (
    Event,
    ItemPatch,
    ItemRequest,
    ScoreRequest,
    UserRequest,
)
from medley.serving.service import Service
from medley.serving.store import Store


def test_a_new_item_is_ranked_listed_and_found_at_once(service):
    answer = service.put_item("fresh", ItemRequest(attributes={"title": "Fresh"}, features=features_of(service, 7)))
    assert answer.cold and answer.popularity == 0 and answer.modalities
    everybody = service.people.beginning("u", 100)
    assert any("fresh" in ids(ask(service, user=user, k=20)) for user in everybody)
    assert service.items("FRESH").items[0].id == "fresh"
    assert ids(service.similar("fresh", by=answer.modalities[0], k=1)) == [service.catalogue.raw_id(7)]
    service.delete_item("fresh")
    assert not any("fresh" in ids(ask(service, user=user, k=90)) for user in everybody)
    with pytest.raises(NotFoundError):
        service.item("fresh")
    service.put_item("fresh", ItemRequest(attributes={"title": "Back"}, features=features_of(service, 7)))
    assert service.item("fresh").title == "Back"


def test_an_item_without_features_is_known_but_ranked_for_nobody(service):
    service.put_item("bare", ItemRequest(attributes={"title": "Bare"}))
    found = service.item("bare")
    assert (found.title, found.listed, found.cold, found.similar) == ("Bare", False, True, {})
    assert "bare" in [item.id for item in service.items("Bare").items]
    assert "bare" not in ids(ask(service, user="u00001", k=200))
    service.put_item("bare", ItemRequest(features=features_of(service, 7)))
    assert service.item("bare").listed and "bare" in ids(ask(service, user="u00001", k=200))


@pytest.mark.parametrize("name", ["mf", "mosaic", "ease", "macridvae"])
def test_new_items_of_a_log_without_features_harm_nobody(name):
    pairs = np.unique(np.random.default_rng(0).integers(0, [30, 20], (250, 2)), axis=0)
    log = {"user_id": pairs[:, 0], "item_id": pairs[:, 1], "timestamp": np.arange(len(pairs))}
    data = medley.Dataset.from_frames(log, split="random")
    service = Service(medley.export(medley.build(name, data), data))
    before = ask(service, user="1", k=5)
    assert not service.put_item("fresh", ItemRequest(attributes={"title": "Fresh"})).listed
    service.feedback([Event(user=user, item="fresh") for user in ("1", "stranger")])
    assert ids(ask(service, user="1", k=5)) == ids(before)
    for question in ({"user": "stranger"}, {"history": ["fresh"]}):
        assert ask(service, **question, k=5).fallback == "popular"
    assert ids_of_history(service, "1")[0] == "fresh" and service.item("fresh").popularity == 2
    assert service.score(ScoreRequest(user="1", items=["fresh", "3"])).items[0].score is None
    for refused in (lambda: service.explain("1", "fresh"), lambda: service.similar("fresh", by="all")):
        with pytest.raises(InputError, match="put features that the bundle has"):
            refused()
    assert service.places() and service.item("3").similar


def test_an_item_with_interactions_keeps_its_learned_vector(service):
    row = int(service.catalogue.popularity.values.argmax())
    raw_id = service.catalogue.raw_id(row)
    before = service.score(ScoreRequest(user="u00001", items=[raw_id])).items[0].score
    service.patch_item(raw_id, ItemPatch(attributes={"title": "Renamed"}))
    assert service.item(raw_id).title == "Renamed" and not service.item(raw_id).cold
    assert service.score(ScoreRequest(user="u00001", items=[raw_id])).items[0].score == pytest.approx(before)
    service.patch_item(raw_id, ItemPatch(attributes={"title": None}))
    assert service.item(raw_id).title is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"attributes": {"colour": "red"}}, "colour"),
        ({"attributes": {"item_id": "x"}}, "item_id"),
        ({"features": {"smell": [1.0]}}, "modality: expected visual"),
        ({"features": {"visual": [1.0]}}, "64 finite numbers"),
        ({"features": {"visual": [float("nan")] * 64}}, "64 finite numbers"),
        ({"media": {"text": "words"}}, "medley serve --media"),
    ],
)
def test_bad_items_are_refused_and_nothing_is_changed(service, request_, message):
    with pytest.raises(InputError, match=message):
        service.put_item("bad", ItemRequest(**request_))
    assert service.catalogue.find("bad") is None


def test_feedback_is_seen_at_once_and_counted_once(service):
    best = ask(service, user="u00006", k=1).items[0].id
    before = service.item(best).popularity
    events = [Event(user="u00006", item=best, id="e1"), Event(user="u00006", item=best, id="e1", type="play")]
    answer = service.feedback([*events, Event(user="u00006", item="nothing")])
    assert (answer.accepted, answer.duplicate) == (1, 0)
    assert [(each.index, each.code) for each in answer.rejected] == [(1, "conflict"), (2, "not_found")]
    assert best not in ids(ask(service, user="u00006", k=90)) and service.item(best).popularity == before + 1
    assert service.user("u00006").history[0].id == best and service.user("u00006").folded_in
    again = Event(user="u00006", item=best, id="e2", time=5.0)
    assert [service.feedback([again]).duplicate for _ in range(2)] == [0, 1]


def test_a_stranger_with_feedback_becomes_a_user(service):
    liked = [service.catalogue.raw_id(row) for row in (2, 5, 8)]
    service.feedback([Event(user="stranger", item=item) for item in liked])
    assert ids(ask(service, user="stranger", k=5)) == ids(ask(service, history=liked, k=5))


def test_a_disliked_item_is_not_listed_and_not_popular(service):
    best = ask(service, user="u00007", k=1).items[0].id
    before = service.item(best).popularity
    service.feedback([Event(user="u00007", item=best, type="dislike")])
    assert best not in ids(ask(service, user="u00007", k=90)) and service.item(best).popularity == before
    assert best not in ids(ask(service, user="u00007", k=90, hide_seen=False))


def test_a_dislike_of_an_item_of_train_takes_the_item_out_of_the_history(service):
    user, row = "u00007", service.bundle.user_ids.find("u00007")
    history, ages = service.bundle.history(row), service.bundle.ages(row)
    learned, fold_in = service.people.query(user), service.people.fold_in
    service.feedback([Event(user=user, item=service.catalogue.raw_id(history[0]), type="dislike")])
    left = ages[1:] - (ages[0] < ages[1:])
    expected = learned + fold_in(history[1:].tolist(), history[:1].tolist(), ages=left)
    expected -= fold_in(history.tolist(), ages=ages)
    np.testing.assert_allclose(service.people.query(user), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, learned, atol=1e-3)


def test_a_user_is_put_described_and_forgotten(service):
    history = [service.catalogue.raw_id(row) for row in (3, 4)]
    service.put_user("guest", UserRequest(history=history, attributes={"age": 30}))
    assert service.user("guest").attributes == {"age": 30} and ids_of_history(service, "guest") == history[::-1]
    assert "guest" in service.users("gu")
    service.delete_user("guest")
    service.delete_user("u00001")
    for user in ("guest", "u00001"):
        with pytest.raises(NotFoundError):
            service.user(user)
        assert ask(service, user=user).fallback == "popular" and user not in service.users(user[0], k=200)
    with pytest.raises(InputError, match="history: expected known items"):
        service.put_user("guest", UserRequest(history=["nothing"]))


def test_a_user_whose_bytes_could_not_be_erased_is_forgotten_and_can_be_deleted_again(trained, tmp_path, monkeypatch):
    store = Store(tmp_path / "store.sqlite")
    service = Service(trained[2], store=store)
    service.feedback([Event(user="u00001", item=service.catalogue.raw_id(9))])
    erase, erased = store._database.erase, []

    def fail():
        raise MedleyError("deleted content is still in the write-ahead log")

    monkeypatch.setattr(store._database, "erase", fail)
    with pytest.raises(MedleyError, match="write-ahead log"):
        service.delete_user("u00001")
    with pytest.raises(NotFoundError):
        service.user("u00001")
    monkeypatch.setattr(store._database, "erase", lambda: erased.append(erase()))
    service.delete_user("u00001")
    assert erased
    with pytest.raises(NotFoundError):
        service.delete_user("nobody")
    service.close()


def test_a_user_whom_the_store_could_not_delete_stays(trained, tmp_path, monkeypatch):
    service = Service(trained[2], store=Store(tmp_path / "store.sqlite"))

    def fail(user):
        raise MedleyError("the disk is full")

    monkeypatch.setattr(service.store, "delete_user", fail)
    with pytest.raises(MedleyError, match="full"):
        service.delete_user("u00001")
    assert service.user("u00001").id == "u00001"
    service.close()


def test_a_store_brings_everything_back(trained, tmp_path):
    _, _, bundle = trained
    first = Service(bundle, store=Store(tmp_path / "store.sqlite"))
    first.put_item("fresh", ItemRequest(attributes={"title": "Fresh"}, features=features_of(first, 7)))
    first.delete_item(first.catalogue.raw_id(1))
    first.put_user("guest", UserRequest(history=[first.catalogue.raw_id(3), "fresh"]))
    first.delete_user("u00001")
    liked = [("u00002", 9), ("guest", 6)]
    first.feedback([Event(user=user, item=first.catalogue.raw_id(row)) for user, row in liked])
    users = ["guest", "u00001", "u00002", "u00003"]
    expected = [ask(first, user=user, k=30) for user in users]
    first.close()
    again = Service(bundle, store=Store(tmp_path / "store.sqlite"))
    assert [ask(again, user=user, k=30) for user in users] == expected
    assert again.item("fresh").title == "Fresh"
    again.close()


def test_a_store_is_opened_beside_another_bundle_which_knows_less(simulated, tmp_path, caplog):
    def shop(items, log, features):
        log = {"user_id": simulated.users.raw.gather(log["user"]), "item_id": simulated.items.raw.gather(log["item"])}
        data = medley.Dataset.from_frames(pl.DataFrame(log), items=items, features=features)
        return Service(medley.export(medley.build("mf", data, dim=8), data), store=Store(tmp_path / "store.sqlite"))

    items, features = simulated.item_table.select("item_id", "title"), dict(simulated.features)
    first, gone = shop(items.with_columns(colour=pl.lit("red")), simulated.log, features), simulated.items.raw_id(3)
    attributes = {"title": "Fresh", "colour": "blue"}
    first.put_item("fresh", ItemRequest(attributes=attributes, features=features_of(first, 7)))
    first.put_user("guest", UserRequest(history=[gone, "fresh"]))
    first.feedback([Event(user="guest", item=gone)])
    first.close()
    dropped, _ = features.popitem()
    with caplog.at_level(logging.WARNING, logger="medley.serving"):
        features = {m: (np.delete(f.values, 3, axis=0), np.delete(f.present, 3)) for m, f in features.items()}
        again = shop(items.filter(pl.col("item_id") != gone), simulated.log.filter(pl.col("item") != 3), features)
    assert again.item("fresh").listed and again.item("fresh").attributes == {}
    assert ids_of_history(again, "guest") == ["fresh"] and len(ask(again, user="guest", k=5).items) == 5
    assert f"item 'fresh': this bundle does not know its {', '.join(sorted(['colour', dropped]))}" in caplog.text
    again.close()


def test_readers_see_whole_answers_while_a_writer_adds_and_removes(service):
    stop, problems = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                answer = ask(service, user="u00003", k=20, explain=True)
                assert len(answer.items) == 20
                service.items("fresh")
            except Exception as error:  # whatever it is, the test fails
                problems.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    vectors = features_of(service, 7)
    for number in range(60):
        service.put_item(f"fresh{number}", ItemRequest(attributes={"title": f"{number}"}, features=vectors))
        if number % 3 == 0:
            service.delete_item(f"fresh{number}")
        service.feedback([Event(user="u00003", item=f"fresh{number}")])
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems


def test_a_service_catches_up_with_what_another_one_wrote(trained, tmp_path):
    _, _, bundle = trained
    old, new = (Service(bundle, store=Store(tmp_path / "store.sqlite")) for _ in range(2))
    item = old.catalogue.raw_id(9)
    old.put_item("fresh", ItemRequest(attributes={"title": "Fresh"}, features=features_of(old, 7)))
    old.put_user("guest", UserRequest(history=["fresh"]))
    old.delete_user("u00001")
    old.feedback([Event(user="u00001", item=item), Event(user="guest", item=item)])
    for _ in range(2):  # the second time there is nothing new
        new.catch_up()
    for user in ("guest", "u00001", "u00002"):
        assert ask(new, user=user, k=30) == ask(old, user=user, k=30)
    assert new.item(item).popularity == old.item(item).popularity
    new.feedback([Event(user="guest", item=new.catalogue.raw_id(3))])
    for _ in range(2):
        old.catch_up()
    assert ask(new, user="guest", k=30) == ask(old, user="guest", k=30)
    assert old.item(item).popularity == new.item(item).popularity
    old.close()
    new.close()
