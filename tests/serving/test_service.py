"""The service: questions, changes, and what it remembers."""

import threading

import numpy as np
import pytest

import medley
from medley.errors import InputError, NotFoundError
from medley.serving.export import export
from medley.serving.filters import Filter
from medley.serving.requests import (
    BatchRequest,
    Event,
    ItemPatch,
    ItemRequest,
    RecommendRequest,
    ScoreRequest,
    UserRequest,
)
from medley.serving.service import Service
from medley.serving.store import Store

MODELS = {"freedom": "vectors", "itemknn": "item-to-item", "macridvae": "concepts"}


@pytest.fixture(scope="module", params=[*MODELS])
def trained(request, simulated):
    settings = {} if request.param == "itemknn" else {"num_epochs": 3, "batch_size": 256}
    run = medley.train(request.param, simulated, progress=False, **settings)
    return run, simulated, export(run, simulated)


@pytest.fixture
def service(trained):
    return Service(trained[2])


def ask(service, **question):
    return service.recommend(RecommendRequest(**question))


def ids(answer):
    return [item.id for item in answer.items]


def features_of(service, row):
    return {m: values.astype(float).tolist() for m, values in service.catalogue.features(row).items()}


def test_lists_and_scores_equal_those_of_the_model_for_every_user(trained, service):
    run, data, _ = trained
    users = data.users.raw.to_list()
    for user, expected in zip(users, medley.recommend(run, user=users, k=7), strict=True):
        answer = ask(service, user=user, k=7)
        assert ids(answer) == [item.item for item in expected]
        assert [item.score for item in answer.items] == pytest.approx([item.score for item in expected], abs=1e-4)
        assert answer.fallback is None and not answer.unknown


def test_seen_and_disliked_items_are_hidden_unless_asked_for(trained, service):
    data, user = trained[1], trained[1].users.raw_id(0)
    log = data.union("train+valid+test")
    seen = {data.items.raw_id(int(row)) for row in log.item[log.user == 0]}
    answer = ask(service, user=user, k=200)
    assert not seen & set(ids(answer)) and len(answer.items) == data.manifest.num_items - len(seen)
    assert seen <= set(ids(ask(service, user=user, k=200, hide_seen=False)))


def test_exclude_and_filter_act_before_the_best_are_chosen(service):
    best = ids(ask(service, user="u00003", k=3))
    without = ask(service, user="u00003", k=3, exclude=[best[0], "nobody"])
    assert best[0] not in ids(without) and len(without.items) == 3 and without.unknown == ["nobody"]
    titles = {item.title: item.id for item in ask(service, user="u00003", k=50).items}
    last = list(titles)[-1]
    found = ask(service, user="u00003", k=3, filter=Filter.parse({"must": [{"field": "title", "eq": last}]}))
    assert ids(found) == [titles[last]]
    with pytest.raises(InputError, match="column"):
        ask(service, user="u00003", filter=Filter.parse({"must": [{"field": "colour", "eq": "red"}]}))


def test_an_unknown_user_gets_popular_items_and_the_answer_says_so(service):
    answer = ask(service, user="nobody", k=4)
    assert answer.fallback == "popular" and answer.unknown == ["nobody"]
    popularity = service.catalogue.popularity.values
    assert [item.score for item in answer.items] == np.sort(popularity)[::-1][:4].tolist()
    assert service.counters["fallback_popular"] == 1
    assert ask(service, history=["x", "y"]).fallback == "popular"


def test_a_history_is_folded_in_and_its_items_are_hidden(service):
    history = [service.catalogue.raw_id(row) for row in (2, 5, 8)]
    answer = ask(service, history=[*history, "nobody"], k=5)
    assert answer.fallback is None and answer.unknown == ["nobody"] and not set(history) & set(ids(answer))
    assert ids(answer) == ids(ask(service, positive=history, k=5))


@pytest.mark.parametrize(
    "question", [{}, {"user": "a", "history": ["b"]}, {"history": ["a"], "negative": ["b"]}, {"user": "a", "k": 0}]
)
def test_questions_that_contradict_themselves_are_refused(question):
    with pytest.raises(ValueError):
        RecommendRequest(**question)


def test_a_batch_answers_each_question_and_keeps_errors_apart(service):
    answers = service.batch(BatchRequest(requests=[{"user": "u00001"}, {"user": "u00001", "kk": 3}, {"k": 2}]))
    assert len(answers[0].items) == 10
    assert isinstance(answers[1], InputError) and "'kk'" in str(answers[1])
    assert isinstance(answers[2], InputError) and "one of user, history and positive" in str(answers[2])


def test_diversity_spreads_a_list_and_keeps_its_first_item(service):
    plain, diverse = (ask(service, user="u00002", k=10, diversity=share) for share in (0, 0.9))
    assert ids(plain)[0] == ids(diverse)[0] and ids(plain) != ids(diverse)

    def closeness(answer):
        rows, _ = service.catalogue.rows(ids(answer))
        vectors = service.catalogue.vectors(rows)[:, :-1]
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return (unit @ unit.T).mean()

    assert closeness(diverse) < closeness(plain)


def test_weights_of_parts_re_rank_and_unknown_parts_are_refused(service):
    with pytest.raises(InputError, match="part of the score"):
        ask(service, user="u00001", weights={"smell": 1.0})
    for part in service.bundle.parts:
        others = {name: 0.0 for name in service.bundle.parts if name != part}
        found = ask(service, user="u00001", k=5, weights=others, explain=True)
        assert all(item.why.parts[part] == pytest.approx(item.score, abs=1e-4) for item in found.items)


def test_parts_sum_to_the_score_and_reasons_are_items_of_the_user(service):
    history = set(ids_of_history(service, "u00004"))
    for item in ask(service, user="u00004", k=5, explain=True).items:
        if service.bundle.parts:
            assert sum(item.why.parts.values()) == pytest.approx(item.score, abs=1e-4)
            assert sum(map(abs, item.why.shares.values())) == pytest.approx(1)
        assert {each.id for each in item.why.because} <= history


def ids_of_history(service, user):
    return [item.id for item in service.user(user).history]


def test_an_explanation_ranks_the_item_as_the_list_does(service):
    listed = ask(service, user="u00004", k=8)
    for place in (0, 3, 7):
        explained = service.explain("u00004", listed.items[place].id)
        assert explained.rank == place + 1
        assert explained.score == pytest.approx(listed.items[place].score, abs=1e-4)
        assert explained.without.keys() == service.bundle.parts.keys()
    with pytest.raises(NotFoundError):
        service.explain("u00004", "nothing")


def test_scores_of_given_items_come_in_the_order_of_the_question(service):
    listed = ask(service, user="u00005", k=4)
    asked = [listed.items[2].id, "nothing", listed.items[0].id]
    answer = service.score(ScoreRequest(user="u00005", items=asked))
    assert [item.id for item in answer.items] == asked and answer.unknown == ["nothing"]
    assert answer.items[0].score == pytest.approx(listed.items[2].score, abs=1e-4) and answer.items[1].score is None


def test_similar_items_by_a_modality_equal_a_loop(service):
    values, present = service.bundle.features["visual"]
    row = int(np.flatnonzero(present)[0])
    centred = values - values[present].mean(axis=0)
    cosine = [
        (-(centred[i] @ centred[row]) / (np.linalg.norm(centred[i]) * np.linalg.norm(centred[row])), i)
        for i in np.flatnonzero(present)
        if i != row
    ]
    expected = [service.catalogue.raw_id(i) for _, i in sorted(cosine)[:5]]
    found = service.similar(service.catalogue.raw_id(row), by="visual", k=5)
    assert [item.id for item in found.items] == expected
    for by in service.similarity.available(row):
        assert len(service.similar(service.catalogue.raw_id(row), by=by, k=5).items) == 5
    with pytest.raises(InputError, match="by: expected behaviour"):
        service.similar(service.catalogue.raw_id(row), by="smell")


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
    assert "bare" not in ids(ask(service, user="u00001", k=200))


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


def test_pages_of_items_list_every_item_once_the_most_popular_first(service):
    cursor, found = None, []
    while True:
        page = service.items(cursor=cursor, k=40)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            break
    assert len({item.id for item in found}) == page.total == len(found) == service.catalogue.num_alive
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    with pytest.raises(InputError, match="cursor"):
        service.items(cursor="first")


def test_the_map_has_a_place_for_every_item(service):
    found = service.places()
    assert len(found) == service.catalogue.num_bundled
    places = np.array([(place["x"], place["y"]) for place in found])
    assert np.isfinite(places).all() and np.abs(places).max() == pytest.approx(1)
    assert places.std(axis=0).min() > 0


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


def test_the_service_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, medley.serving.service; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
