"""The OpenAPI document, with the raw `/v1` routes written in by hand. A test holds it to the routes."""

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
from litestar.openapi.spec.enums import OpenAPIType

from gateway.dialects.endpoint import Endpoint
from gateway.dialects.served import ENDPOINTS

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
_NO_KEY = {"401": _ERRORS["401"], "503": "The keys could not be read yet."}
_OTHER_ERRORS = {
    "/v1/models": _NO_KEY,
    "/v1/models/{model}": {
        **_NO_KEY,
        "400": _ERRORS["400"],
        "404": "No such model, or not for this key.",
    },
    "/health/ready": {"503": "Not ready, and why."},
}
_FEEDBACK_FIELDS = ("inference_id", "rating", "score", "comment", "demonstration", "rater")


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
    paths = app.openapi_schema.paths
    assert paths is not None
    for endpoint in ENDPOINTS:
        paths[endpoint.path] = _inference(endpoint)
    paths["/v1/feedback"] = PathItem(
        post=Operation(
            operation_id="post_v1_feedback",
            tags=["v1"],
            summary="Rate an answer by its inference id; a key is needed to name a rater only.",
            security=[{"bearer": []}, {}],
            request_body=_json_body(_FEEDBACK_FIELDS, ("inference_id",)),
            responses=_responses("400", "401", "404", "413", "429", "503"),
        )
    )


def describe_errors(app: Litestar) -> None:
    """Add what routes answer by exceptions, of which Litestar cannot know."""
    for path, item in (app.openapi_schema.paths or {}).items():
        errors = _API_ERRORS if path.startswith("/api/") else _OTHER_ERRORS.get(path, {})
        for operation in (item.get, item.post, item.patch, item.delete):
            if operation is not None and operation.responses is not None:
                for status, words in errors.items():
                    # Litestar's own 400 has the shape of its own errors, which are not ours.
                    operation.responses[status] = OpenAPIResponse(description=words)


def _inference(endpoint: Endpoint) -> PathItem:
    return PathItem(
        post=Operation(
            operation_id="post" + endpoint.path.replace("/", "_"),
            tags=["v1"],
            summary=endpoint.summary,
            security=[{"bearer": []}, {"key": []}] if endpoint.key_header else [{"bearer": []}],
            request_body=_json_body(
                ("model", *endpoint.fields), ("model", *endpoint.required), is_open=True
            ),
            responses=_responses(*_ERRORS),
        )
    )


def _json_body(
    fields: tuple[str, ...], required: tuple[str, ...], *, is_open: bool = False
) -> RequestBody:
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties={name: Schema() for name in fields},
        required=list(required),
        additional_properties=is_open,
    )
    return RequestBody(required=True, content={"application/json": OpenAPIMediaType(schema=schema)})


def _responses(*errors: str) -> dict[str, OpenAPIResponse | Reference]:
    words = {"200": "The answer."} | {status: _ERRORS[status] for status in errors}
    return {status: OpenAPIResponse(description=text) for status, text in words.items()}
