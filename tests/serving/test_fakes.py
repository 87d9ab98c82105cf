"""The services that tests of HTTP and of the page use keep the contract of the real one."""

import inspect
from typing import get_type_hints

import pytest
from pydantic import ConfigDict, TypeAdapter

pytest.importorskip("PIL", reason="the extra media is not installed")

from tests.serving.http.fake import FakeService as Small
from tests.serving.http.fake import Journal, write_bundle
from tests.serving.page.fake_service import FakeService as Planted

from medley.serving import requests as forms
from medley.serving.service import Service

ANY_CLASS = ConfigDict(arbitrary_types_allowed=True)
OWN = {Small: {"open"}, Planted: {"add"}}  # what tests need beside the contract
CALLS = {
    "model": (),
    "recommend": (forms.RecommendRequest(user="u1", explain=True),),
    "batch": (forms.BatchRequest(requests=[{"user": "u1"}, {"k": 2}]),),
    "score": (forms.ScoreRequest(user="u1", items=["i1", "nothing"]),),
    "similar": ("i1",),
    "explain": ("u1", "i1"),
    "items": ("",),
    "item": ("i1",),
    "users": ("u",),
    "user": ("u1",),
    "places": (),
    "thumbnail": ("i0",),
    "put_item": ("fresh", forms.ItemRequest()),
    "put_items": ([("fresh", forms.ItemRequest())],),
    "patch_item": ("i1", forms.ItemPatch(attributes={"title": "New"})),
    "delete_item": ("i2",),
    "put_user": ("guest", forms.UserRequest(history=["i1"])),
    "feedback": ([forms.Event(user="u1", item="i1"), forms.Event(user="u1", item="nothing")],),
    "delete_user": ("u2",),
    "catch_up": (),
    "close": (),
}


def methods(kind):
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")} - OWN[kind]


@pytest.mark.parametrize("kind", [Small, Planted], ids=["http", "page"])
def test_every_method_of_a_fake_has_the_parameters_of_the_service(kind):
    def parameters(method):
        return [(each.name, each.kind, each.default) for each in inspect.signature(method).parameters.values()]

    assert {"model", "recommend", "put_item", "thumbnail"} <= methods(kind)
    for name in methods(kind):
        assert parameters(getattr(kind, name)) == parameters(getattr(Service, name)), name


@pytest.mark.parametrize("kind", [Small, Planted], ids=["http", "page"])
def test_every_answer_of_a_fake_has_the_type_of_an_answer_of_the_service(kind, tmp_path):
    fake = Small.open(write_bundle(tmp_path / "shop"), Journal()) if kind is Small else Planted()
    assert methods(kind) <= CALLS.keys()
    for name, arguments in CALLS.items():
        if name in methods(kind):
            answer = getattr(fake, name)(*arguments)
            expected = get_type_hints(getattr(Service, name))["return"]
            if isinstance(expected, type) and issubclass(expected, forms.Form):
                assert type(answer) is expected, name
            else:
                TypeAdapter(expected, config=ANY_CLASS).validate_python(answer, strict=True)
