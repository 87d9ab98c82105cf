"""Items that are put with media, which an encoder beside the service turns into features and a picture."""

import base64

import numpy as np
import pytest
from tests.serving.small_bundle import PICTURE, write_small_bundle

from medley.errors import InputError
from medley.serving.requests import ItemPatch, ItemRequest
from medley.serving.service import Service
from medley.serving.store import Store

VECTOR = np.arange(8, dtype=np.float32)
CONTENT = b"\x00 a file"
FILE = base64.b64encode(CONTENT).decode()


class Encoder:
    """Answers what it is told, and keeps what it was asked."""

    def __init__(self):
        self.features, self.asked, self.error, self.num_closed = {"visual": VECTOR}, [], None, 0

    def encode(self, **media):
        self.asked.append({name: medium for name, medium in media.items() if medium is not None})
        if self.error is not None:
            raise self.error
        return dict(self.features), media["image"] and b"small " + media["image"]

    def close(self):
        self.num_closed += 1


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def opened(tmp_path, encoder):
    """Opens a service, each time of the same bundle and store."""
    services, bundle = [], write_small_bundle(tmp_path / "shop.medley")

    def opened():
        services.append(Service.open(bundle, store=tmp_path / "shop.store", encoder=lambda _: encoder))
        return services[-1]

    yield opened
    for service in services:
        service.close()


@pytest.fixture
def service(opened):
    return opened()


def put(service, item="fresh", *, features=None, **media):
    return service.put_item(item, ItemRequest(features=features, media=media))


def test_files_reach_the_encoder_decoded_and_their_features_are_those_of_the_item(service, encoder):
    answer = put(service, text="words", image=FILE, audio=FILE, video=FILE)
    assert encoder.asked == [{"text": "words", "image": CONTENT, "audio": CONTENT, "video": CONTENT}]
    assert (answer.modalities, answer.media, answer.listed) == (["visual"], ["image"], True)
    np.testing.assert_array_equal(service.catalogue.features(service.catalogue.row("fresh"))["visual"], VECTOR)
    assert service.thumbnail("fresh") == (b"small " + CONTENT, "image/jpeg")


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
@pytest.mark.parametrize("text", ["QQ", "QQ==\n", "Q@==", "é", "data:image/png;base64,QQ=="])
def test_a_file_that_is_not_base64_is_refused_before_it_is_encoded(service, encoder, kind, text):
    with pytest.raises(InputError, match=f"media '{kind}': expected base64"):
        put(service, **{kind: text})
    assert not encoder.asked


def fail_as_damaged(encoder):
    encoder.error = InputError("media of an item", got="not an image")
    return {"image": FILE}, "media of an item: got not an image"


def give_what_is_not_finite(encoder):
    encoder.features = {"visual": VECTOR / 0}
    return {"image": FILE}, "8 finite numbers"


def give_another_length(encoder):
    encoder.features = {"visual": VECTOR[:3]}
    return {"image": FILE}, "8 finite numbers"


def give_an_unknown_modality(encoder):
    encoder.features = {"textual": VECTOR}
    return {"text": "words"}, "modality: expected visual, got 'textual'"


def come_with_features(encoder):
    return {"image": FILE, "features": {"visual": [1.0] * 8}}, "features or media of a modality, got both of visual"


def be_no_base64(encoder):
    return {"image": "?"}, "expected base64"


FAULTS = [
    *(fail_as_damaged, give_what_is_not_finite, give_another_length, give_an_unknown_modality),
    *(come_with_features, be_no_base64),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_media_that_are_refused_change_nothing_in_the_service_or_its_store(service, opened, encoder, fault):
    put(service, "known", image=FILE)
    before = service.item("known"), service.thumbnail("known"), service.store.num_changes()
    question, message = fault(encoder)
    features = question.pop("features", None)
    with pytest.raises(InputError, match=message):
        put(service, features=features, **question)
    for change in (ItemRequest, ItemPatch):
        request = change(attributes={"title": "New"}, features=features, media=question)
        with pytest.raises(InputError, match=message):
            (service.put_item if change is ItemRequest else service.patch_item)("known", request)
    assert service.catalogue.find("fresh") is None
    assert before == (service.item("known"), service.thumbnail("known"), service.store.num_changes())
    good, bad = ItemRequest(features={"visual": [2.0] * 8}), ItemRequest(features=features, media=question)
    answers = service.put_items([("bad", bad), ("good", good)])
    assert isinstance(answers[0], InputError) and answers[1].id == "good" and service.catalogue.find("bad") is None


def test_media_without_content_are_none(service, encoder):
    put(service, text="", image="")
    assert not encoder.asked


def test_a_picture_is_shown_until_the_item_is_replaced_without_one_also_after_a_restart(service, opened):
    def pictures(service):
        return [(each := service.thumbnail(item)) and each[0] for item in ("fresh", "gone", "i0")]

    for item in ("fresh", "gone", "i0"):
        put(service, item, image=FILE)
    assert pictures(service) == pictures(opened()) == [b"small " + CONTENT] * 3
    service.patch_item("fresh", ItemPatch(attributes={"title": "Kept"}))
    assert pictures(service) == pictures(opened()) == [b"small " + CONTENT] * 3
    service.delete_item("gone")
    for item in ("fresh", "gone", "i0"):
        put(service, item, features={"visual": VECTOR.tolist()})
    assert pictures(service) == pictures(opened()) == [None, None, PICTURE]  # the bundle has one of i0
    assert service.item("fresh").media == []


@pytest.mark.parametrize("fault", ["store", "index"])
def test_a_service_that_cannot_be_opened_leaves_neither_encoder_nor_store_open(tmp_path, encoder, monkeypatch, fault):
    bundle, closed, close = write_small_bundle(tmp_path / "shop.medley"), [], Store.close
    monkeypatch.setattr(Store, "close", lambda store: closed.append(close(store)))
    if fault == "store":
        (tmp_path / "shop.store").write_bytes(b"not a store" * 500)
    with pytest.raises(InputError):
        Service.open(
            bundle,
            store=tmp_path / "shop.store",
            index="of another kind" if fault == "index" else None,
            encoder=lambda _: encoder,
        )
    assert encoder.num_closed == 1 and len(closed) == (fault == "index")
