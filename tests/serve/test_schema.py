"""Whatever a schema allows or forbids: the server stays up, and every answer is as it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from layerwise import serve
from served import PATIENT

load_all_checks()
HELD = CHECKS.get_by_names(
    [
        *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
        *("response_schema_conformance", "response_headers_conformance"),
        *("negative_data_rejection", "unsupported_method", "allow_header_conformance"),
    ]
)


KINDS = ("reader", "text_reader", "index", "text_index", "both_index", "surveyed")


# The strategies of schemathesis draw from it themselves.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("kind", [*KINDS])
def test_every_answer_is_of_the_schema(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    # Schemathesis ends an application when it has asked enough: it has one of its own.
    app = serve.application(folder, limits=PATIENT)
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    statuses: dict[str, set[int]] = {}

    def hold(case: schemathesis.Case) -> None:
        answer = case.call("http://127.0.0.1:8000", timeout=600)
        case.validate_response(answer, checks=HELD)
        statuses.setdefault(case.operation.label, set()).add(answer.status_code)

    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and operation.method == "get":
                continue
            limit = settings(max_examples=6, suppress_health_check=list(HealthCheck), database=None)
            limit(given(case=operation.as_strategy(generation_mode=mode))(hold))()
    asked = {"POST /predict", "POST /embed"} if "reader" in kind else {"POST /search"}
    asked = {"POST /look"} if kind == "surveyed" else asked
    asked |= {"POST /search_words"} if kind == "both_index" else set()
    assert asked | {"GET /health"} <= statuses.keys()
    assert statuses["GET /health"] == {200}
    for question in asked:
        assert 422 in statuses[question]
        if kind.startswith("text") or question == "POST /search_words":
            assert 200 in statuses[question]
