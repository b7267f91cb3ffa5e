"""The OpenAPI document as clients get it, and requests such as it allows."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from gateway.app import create_app
from gateway.http.routes import Routes
from serving.settings import Settings


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    app = create_app(Settings(home=Path("nowhere")), "postgresql://nowhere", Routes())
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    return found


@cache
def allowed_bodies(path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw bodies that may be posted to a path."""
    operation = schemathesis.openapi.from_dict(document())[path]["POST"]
    return operation.as_strategy(GenerationMode.POSITIVE).map(lambda case: case.body)
