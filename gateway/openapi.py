"""The OpenAPI document, with the raw `/v1` routes, which Litestar cannot describe.

Their bodies are described by what holds requests: the dialects' tables, and the type of a rating.
Tests hold the document to the routes and to what they answer.
"""

from collections.abc import Mapping

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    PathItem,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from gateway.dialects.endpoint import Endpoint, ErrorBody
from gateway.dialects.messages import AnthropicErrorBody
from gateway.dialects.served import ENDPOINTS
from gateway.feedback import Given, Kept
from gateway.policy import checks
from gateway.policy.fields import body_schema

_ERRORS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No key, or an unknown one.",
    "404": "No such model, or not for this key, or its engine has no such endpoint.",
    "413": "The body is too long.",
    "429": "A quota, a budget or an address's share is used up; `Retry-After` says until when.",
    "502": "The engine failed.",
    "503": "No engine can answer now; `Retry-After` says when to try again.",
    "504": "The engine did not answer in time.",
}
_API_ERRORS = {
    "400": "The request is wrong; `param` names the field.",
    "401": _ERRORS["401"],
    "403": "The key's role may not do this.",
    "404": "There is no such thing.",
    "409": "What is there does not allow it.",
    "413": _ERRORS["413"],
    "502": _ERRORS["502"],
    "503": "The database or an engine does not answer; `Retry-After` says when to try again.",
    "504": _ERRORS["504"],
}
_FEEDBACK_ERRORS = {
    status: _ERRORS[status] for status in ("400", "401", "404", "413", "429", "503")
}
_NO_KEY = {"401": _ERRORS["401"], "503": "The keys could not be read yet."}
_MODEL_ERRORS = {
    "/v1/models": _NO_KEY,
    "/v1/models/{model}": {
        **_NO_KEY,
        "400": _ERRORS["400"],
        "404": "No such model, or not for this key.",
    },
}
_ENGINES_TOO = ("400", "413")
"""What an engine may say to a client in its own words."""
_PART = "#/components/schemas/{name}"

_Responses = dict[str, OpenAPIResponse | Reference]


class _Said(Schema):
    """A schema that is there already, as JSON."""

    def __init__(self, said: checks.Schema) -> None:
        super().__init__()
        self._said = said

    def to_schema(self) -> checks.Schema:
        """Return it."""
        return self._said


def openapi_config() -> OpenAPIConfig:
    """Return what describes the whole surface; the document is at /schema/openapi.json.

    JSON only: the pages that Litestar could add load their scripts from foreign hosts.
    """
    bearer = SecurityScheme(type="http", scheme="bearer")
    key = SecurityScheme(type="apiKey", security_scheme_in="header", name="x-api-key")
    return OpenAPIConfig(
        title="Strop",
        version="1",
        description="An OpenAI-compatible gateway that sharpens the models it serves.",
        render_plugins=[JsonRenderPlugin()],
        components=Components(security_schemes={"bearer": bearer, "key": key}),
    )


def describe_raw_routes(app: Litestar) -> None:
    """Add the routes that Litestar cannot describe by itself."""
    paths, components = app.openapi_schema.paths, app.openapi_schema.components
    assert paths is not None
    assert components is not None
    for endpoint in ENDPOINTS:
        paths[endpoint.path] = PathItem(post=_inference(endpoint))
    paths["/v1/feedback"] = PathItem(post=_rating())
    types = (Given, Kept, ErrorBody, AnthropicErrorBody)
    _, parts = msgspec.json.schema_components(types, ref_template=_PART)
    components.schemas |= {name: _Said(part) for name, part in parts.items()}


def describe_errors(app: Litestar) -> None:
    """Add what routes answer by exceptions, of which Litestar cannot know."""
    for path, item in (app.openapi_schema.paths or {}).items():
        for operation in (item.get, item.post, item.patch, item.delete):
            if operation is not None and operation.responses is not None:
                # Litestar's own 400 has the shape of its own errors, which are not ours.
                operation.responses |= _errors_at(path)


def _errors_at(path: str) -> _Responses:
    if path == "/health/ready":
        return {"503": OpenAPIResponse("Not ready, and why.")}
    if path.startswith("/api/"):
        return _errors(_API_ERRORS, _part(ErrorBody))
    either = {"anyOf": [_part(ErrorBody), _part(AnthropicErrorBody)]}
    return _errors(_MODEL_ERRORS.get(path, {}), either)


def _inference(endpoint: Endpoint) -> Operation:
    kinds = ["application/json", *(["text/event-stream"] if "stream" in endpoint.fields else [])]
    ours = _part(endpoint.error_form)
    theirs = {"anyOf": [ours, {"description": "The engine's own words."}]}
    return Operation(
        operation_id="post" + endpoint.path.replace("/", "_"),
        tags=["v1"],
        summary=endpoint.summary,
        security=[{"bearer": []}, {"key": []}] if endpoint.key_header else [{"bearer": []}],
        request_body=RequestBody(required=True, content=_json(body_schema(endpoint))),
        responses={
            "200": OpenAPIResponse(
                "The engine's answer.", content={kind: OpenAPIMediaType() for kind in kinds}
            ),
            **_errors(_ERRORS, ours),
            **_errors({status: _ERRORS[status] for status in _ENGINES_TOO}, theirs),
        },
    )


def _rating() -> Operation:
    return Operation(
        operation_id="post_v1_feedback",
        tags=["v1"],
        summary="Rate an answer by its inference id; a key is needed to name a rater only.",
        security=[{"bearer": []}, {}],
        request_body=RequestBody(required=True, content=_json(_part(Given))),
        responses={
            "200": OpenAPIResponse("The rating is kept.", content=_json(_part(Kept))),
            **_errors(_FEEDBACK_ERRORS, _part(ErrorBody)),
        },
    )


def _errors(words: Mapping[str, str], schema: checks.Schema) -> _Responses:
    return {status: OpenAPIResponse(text, content=_json(schema)) for status, text in words.items()}


def _json(schema: checks.Schema) -> dict[str, OpenAPIMediaType]:
    return {"application/json": OpenAPIMediaType(schema=_Said(schema))}


def _part(described: type) -> checks.Schema:
    return {"$ref": _PART.format(name=described.__name__)}
