"""The OpenAPI document is true: schemathesis makes requests from it, good and bad, and checks every answer."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.serving.http.conftest import running
from tests.serving.http.fake import FakeService, Journal, write_bundle

from medley.serving.http.app import create_app
from medley.serving.http.settings import Settings

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 20  # per operation and kind
DOCUMENT = create_app(Settings(bundle=Path("absent"))).openapi()
OPERATIONS = [(path, method) for path, operations in DOCUMENT["paths"].items() for method in operations]


@schemathesis.serializer("application/x-ndjson")
def as_lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    bundle, journal = write_bundle(tmp_path_factory.mktemp("schema") / "shop"), Journal()
    with running(Settings(bundle=bundle, port=0), lambda each: FakeService.open(each.bundle, journal)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_documented(schema, path, method, mode):
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def check(case):
        answer = case.call_and_validate(checks=CHECKS)
        if answer.status_code >= 400:
            assert set(answer.json()) == {"code", "message", "expected", "got", "remedy", "request_id"}
        elif path.startswith("/v1/") and not path.endswith("/image"):
            assert {"model_version", "request_id", "took_ms"} <= set(answer.json())

    try:
        check()
    except Unsatisfiable:  # every request of this operation is a good one
        assert mode is GenerationMode.NEGATIVE
