"""Every route: what it answers, and the stamp of the answer."""

import json

import pytest
from tests.serving.http.conftest import until

from medley.serving import requests as forms
from medley.serving.http import answers


def stamped(answer, form, status=200):
    """Checks the stamp and returns the answer as a form."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document["model_version"] == "a" * 64
    assert document["request_id"] == answer.headers["X-Request-ID"]
    assert 0 <= document["took_ms"] < 10_000
    return form.model_validate({name: value for name, value in document.items() if name in form.model_fields})


def test_live_is_true_at_once_and_ready_only_with_a_bundle(start):
    slow = start(wait=False)
    assert slow.get("/health/live").json() == {"status": "live"}
    until(lambda: slow.get("/health/ready").status_code == 200)
    assert slow.get("/health/ready").json()["status"] == "ready"


def test_before_the_bundle_is_loaded_everything_else_is_503_with_retry_after(start, monkeypatch):
    from tests.serving.http.fake import FakeService

    gate = __import__("threading").Event()
    opened = FakeService.open
    monkeypatch.setattr(FakeService, "open", lambda *arguments: gate.wait(10) and opened(*arguments))
    client = start(wait=False)
    try:
        for path in ("/health/ready", "/v1/model", "/v1/recommend/u1"):
            answer = client.get(path)
            assert answer.status_code == 503 and answer.json()["code"] == "not_ready"
            assert answer.headers["Retry-After"] == "1"
        assert "medley_ready 0.0" in client.get("/metrics").text
    finally:
        gate.set()


def test_model(client):
    found = stamped(client.get("/v1/model"), forms.ModelAnswer)
    assert found.model == "fake" and found.counts == {"users": 20, "items": 50}


def test_recommend_and_its_short_form_agree(client):
    long = stamped(client.post("/v1/recommend", json={"user": "u3", "k": 5}), forms.RecommendAnswer)
    short = stamped(client.get("/v1/recommend/u3?k=5"), forms.RecommendAnswer)
    assert long == short and len(long.items) == 5 and long.fallback is None
    assert "i3" not in [item.id for item in long.items]  # seen


def test_the_short_form_takes_all_that_it_documents(client):
    seen = client.get("/v1/recommend/u3", params={"k": 50, "hide_seen": False, "explain": True, "diversity": 0.5})
    assert "i3" in [item["id"] for item in seen.json()["items"]]
    assert seen.json()["items"][0]["why"]["parts"]


def test_an_unknown_user_gets_a_fallback_that_says_so(client):
    found = stamped(client.get("/v1/recommend/stranger"), forms.RecommendAnswer)
    assert found.fallback == "popular" and found.unknown == ["stranger"]


def test_in_a_batch_an_error_is_per_element(client):
    questions = [{"user": "u1", "k": 2}, {"user": "u1", "k": 0}, {"user": "u1", "weights": {"smell": 1}}]
    found = stamped(client.post("/v1/recommend:batch", json={"requests": questions}), answers.BatchAnswer)
    good, bad, wrong = found.results
    assert good.error is None and len(good.answer.items) == 2
    assert bad.answer is None and (bad.error.expected, bad.error.got) == ("1 or more", "0")
    assert wrong.error.code == "invalid" and wrong.error.expected == "visual or id"


def test_score_keeps_the_order_and_says_what_is_unknown(client):
    found = stamped(client.post("/v1/score", json={"user": "u1", "items": ["i2", "nix", "i1"]}), forms.ScoreAnswer)
    assert [item.id for item in found.items] == ["i2", "nix", "i1"]
    assert found.items[1].score is None and found.unknown == ["nix"]


def test_explain(client):
    found = stamped(client.get("/v1/explain", params={"user": "u1", "item": "i2"}), forms.ExplainAnswer)
    assert found.rank == 1 and found.without == {"id": 2}


def test_items_are_searched_and_paged(client):
    everything, cursor = [], None
    while True:
        query = {"k": 20} | ({} if cursor is None else {"cursor": cursor})
        found = stamped(client.get("/v1/items", params=query), forms.ItemsAnswer)
        everything += [item.id for item in found.items]
        cursor = found.cursor
        if cursor is None:
            break
    assert everything == [f"i{row}" for row in range(50)]
    assert stamped(client.get("/v1/items?q=item 4"), forms.ItemsAnswer).total == 11


def test_one_item_and_its_similar_items(client):
    assert stamped(client.get("/v1/items/i7"), forms.ItemAnswer).title == "Item 7"
    found = stamped(client.get("/v1/items/i7/similar?by=visual&k=3"), forms.SimilarAnswer)
    assert found.by == "visual" and len(found.items) == 3
    assert client.get("/v1/items/i7/similar?by=smell").json()["expected"] == "all, behaviour or visual"


def test_the_picture_of_an_item(client):
    found = client.get("/v1/items/i0/image")
    assert found.content == b"\x89PNG" and found.headers["content-type"] == "image/png"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/v1/items/i1/image").status_code == 404


def test_an_item_is_put_patched_ranked_and_deleted(client):
    vector = [10.0] * 8
    item = {"attributes": {"title": "New"}, "features": {"visual": vector}}
    assert stamped(client.put("/v1/items/new", json=item), forms.ItemAnswer).cold
    top = client.post("/v1/recommend", json={"positive": ["new"], "hide_seen": False, "k": 1}).json()
    assert top["items"][0]["id"] == "new"
    patched = client.patch("/v1/items/new", json={"attributes": {"title": "Newer", "year": 2026}})
    assert stamped(patched, forms.ItemAnswer).title == "Newer"
    assert stamped(client.delete("/v1/items/new"), answers.DeletedAnswer).deleted == "new"
    assert client.get("/v1/items/new").status_code == 404
    assert client.delete("/v1/items/new").status_code == 404


def test_in_a_bulk_an_error_is_per_line(client):
    lines = [
        json.dumps({"id": "b1", "attributes": {"title": "One"}}),
        "",
        "not json",
        json.dumps({"id": "b2", "colour": "red"}),
        json.dumps({"id": "b3", "features": {"visual": [1.0]}}),
        json.dumps({"attributes": {}}),
        json.dumps({"id": 4}),
    ]
    answer = client.post(
        "/v1/items:bulk", content="\n".join(lines), headers={"Content-Type": "application/x-ndjson; charset=utf-8"}
    )
    found = stamped(answer, answers.BulkAnswer)
    assert found.accepted == 2 and [each.line for each in found.results] == [1, 3, 4, 5, 6, 7]
    by_line = {each.line: each for each in found.results}
    assert by_line[1].item.title == "One" and by_line[7].id == "4"
    assert by_line[3].error.code == "invalid_json"
    assert "unknown field 'colour'" in by_line[4].error.message
    assert by_line[5].id == "b3" and by_line[5].error.expected == "8 finite numbers"
    assert "'id' is missing" in by_line[6].error.message
    assert client.get("/v1/items/b1").status_code == 200


def test_a_bulk_needs_its_media_type_and_has_a_limit_of_lines(client):
    wrong = client.post("/v1/items:bulk", content="{}", headers={"Content-Type": "text/plain"})
    assert wrong.status_code == 415 and wrong.json()["expected"] == "application/x-ndjson"
    many = client.post("/v1/items:bulk", content="{}\n" * 10_001, headers={"Content-Type": "application/x-ndjson"})
    assert many.status_code == 422 and many.json()["got"] == "10001"


def test_a_user_is_put_listed_and_forgotten(client):
    assert stamped(client.put("/v1/users/new", json={"history": ["i1", "i2"]}), forms.UserAnswer).id == "new"
    assert stamped(client.get("/v1/users?q=ne"), answers.UsersAnswer).users == ["new"]
    assert [item.id for item in stamped(client.get("/v1/users/new"), forms.UserAnswer).history] == ["i1", "i2"]
    assert stamped(client.delete("/v1/users/new"), answers.DeletedAnswer).deleted == "new"
    assert client.get("/v1/users/new").status_code == 404


def test_feedback_is_accepted_once_by_id_and_seen_at_once(client):
    event = {"user": "fan", "item": "i5", "id": "e1"}
    found = stamped(
        client.post("/v1/feedback", json=[event, event, {"user": "fan", "item": "nix"}]), forms.FeedbackAnswer, 202
    )
    assert (found.accepted, found.duplicate, found.rejected[0].index) == (1, 1, 2)
    lists = client.get("/v1/recommend/fan?k=50").json()
    assert lists["fallback"] is None and "i5" not in [item["id"] for item in lists["items"]]


ODD = ["a.b", "a/b", "/", "a%2Fb", "100%", "..", ".", "ü ☃", "a?b#c", "a+b", "similar", " ", "a\\b", "x/similar"]


@pytest.mark.parametrize("raw_id", ODD)
def test_ids_in_paths_may_hold_any_characters(start, bundle, raw_id):
    from medley.client import _id

    client = start()
    path = f"/v1/items/{_id(raw_id)}"
    assert client.put(path, json={"attributes": {"title": "odd"}}).json()["id"] == raw_id
    assert client.get(path).json()["id"] == raw_id
    assert client.get(f"{path}/similar").status_code == 200
    assert client.put(f"/v1/users/{_id(raw_id)}", json={"history": [raw_id]}).status_code == 200
    assert client.get(f"/v1/recommend/{_id(raw_id)}?k=3").json()["unknown"] == []
    assert client.delete(path).json()["deleted"] == raw_id


def test_metrics_count_requests_by_route_fallbacks_and_bytes(client):
    client.get("/v1/recommend/u1")
    client.get("/v1/recommend/u2")
    client.get("/v1/recommend/stranger")
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'medley_request_seconds_count{method="GET",route="/v1/recommend/{user}",status="200"} 3.0' in text
    assert 'route="(no route)",status="404"} 1.0' in text
    assert 'medley_events_total{event="fallback_popular"} 1.0' in text
    assert 'medley_table_bytes{table="index"} 3200.0' in text
    assert 'medley_reloads_total{result="loaded"} 1.0' in text
    assert "u1" not in text and "process_resident_memory_bytes" in text


def test_the_document_describes_every_route_with_stamp_and_errors(client):
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1"):
                assert operation["x-role"] in ("read", "write", "admin"), path
                assert {"4XX", "5XX"} <= operation["responses"].keys(), path
                assert operation["security"] == [{"APIKeyHeader": []}], path
    reply = document["components"]["schemas"]["RecommendReply"]["properties"]
    assert {"items", "fallback", "model_version", "request_id", "took_ms"} <= reply.keys()
