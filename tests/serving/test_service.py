"""The service: questions."""

import numpy as np
import pytest
import torch
from tests.serving.asking import ask, ids, ids_of_history

import medley
from medley.errors import InputError, NotFoundError
from medley.serving.filters import Filter
from medley.serving.requests import (
    BatchRequest,
    RecommendRequest,
    ScoreRequest,
)


def test_lists_and_scores_equal_those_of_the_model_for_every_user(trained, service):
    run, data, _ = trained
    users = data.users.raw.to_list()
    for user, expected in zip(users, medley.recommend(run, user=users, k=7), strict=True):
        answer = ask(service, user=user, k=7)
        assert ids(answer) == [item.item for item in expected]
        assert [item.score for item in answer.items] == pytest.approx([item.score for item in expected], abs=1e-4)
        assert answer.fallback is None and not answer.unknown


def test_the_model_tells_the_bytes_of_what_its_scores_are_computed_from(service):
    scores = service.bundle.scores
    arrays = [scores.item] if scores.kind != "item-to-item" else []
    if scores.kind == "concepts":
        arrays += [scores.concept, *scores.encoder.values()]
    if scores.kind != "vectors":
        for matrix in (*getattr(scores, "weights", {}).values(), scores.history):
            arrays += [matrix.data, matrix.indices, matrix.indptr]
    told = service.model().bytes["index"]
    assert sum(array.nbytes for array in arrays) <= told < 2 * sum(array.nbytes for array in arrays) + 2**16


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
    assert ids(ask(service, history=history[:1], k=5)) == ids(ask(service, positive=history[:1], k=5))  # no order


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
    assert bool(service.bundle.parts) == (service.bundle.kind == "vectors")  # of the models of these tests
    for part in service.bundle.parts:
        others = {name: 0.0 for name in service.bundle.parts if name != part}
        found = ask(service, user="u00001", k=5, weights=others, explain=True)
        assert len(found.items) == 5
        assert all(item.why.parts[part] == pytest.approx(item.score, abs=1e-4) for item in found.items)


def test_parts_sum_to_the_score_and_reasons_are_items_of_the_user(service):
    history = set(ids_of_history(service, "u00004"))
    listed = ask(service, user="u00004", k=5, explain=True).items
    assert len(listed) == 5 and any(item.why.because for item in listed)
    for item in listed:
        if service.bundle.parts:
            assert sum(item.why.parts.values()) == pytest.approx(item.score, abs=1e-4)
            assert sum(map(abs, item.why.shares.values())) == pytest.approx(1)
        assert {each.id for each in item.why.because} <= history


def test_an_explanation_ranks_the_item_as_the_list_does(service):
    listed = ask(service, user="u00004", k=8)
    for place in (0, 3, 7):
        explained = service.explain("u00004", listed.items[place].id)
        assert explained.rank == place + 1
        assert explained.score == pytest.approx(listed.items[place].score, abs=1e-4)
        assert explained.without.keys() == service.bundle.parts.keys()
    with pytest.raises(NotFoundError):
        service.explain("u00004", "nothing")


def test_the_rank_without_a_part_is_that_among_scores_of_the_model_less_the_part(trained, service):
    run, data, _ = trained
    user, log = 4, data.union("train+valid+test")
    unseen = np.setdiff1d(np.arange(data.manifest.num_items), log.item[log.user == user])
    parts = {name: x[0].numpy() for name, x in run.model(data).part_scores(torch.tensor([user])).items()}
    moved = set()
    for row in (*unseen[::9], log.item[log.user == user][0]):  # a seen item is ranked among the unseen ones
        found = service.explain(data.users.raw_id(user), data.items.raw_id(int(row)))
        others = unseen[unseen != row]
        for part in parts:
            score = sum(x for name, x in parts.items() if name != part)
            assert found.without[part] == 1 + (score[others] > score[row]).sum(), (row, part)
            moved |= {part} if found.without[part] != found.rank else set()
    assert moved == parts.keys() == service.bundle.parts.keys()


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


def test_the_service_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, medley.serving.service; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
