"""The page at `/`: what this is, whether it is ready, what it serves, and a box to try it."""

from pathlib import Path

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

_PAGES = Path(__file__).parent.parent / "pages"
# Nothing from elsewhere, nothing inline, in nobody's frame. The icon is an empty data: URL.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}


def page_handlers() -> list[HTTPRouteHandler]:
    """Return what an application registers to have the page."""
    return [
        _serve("/", "index.html", "text/html; charset=utf-8"),
        _serve("/page.css", "page.css", "text/css; charset=utf-8"),
        _serve("/page.js", "page.js", "text/javascript; charset=utf-8"),
    ]


def _serve(path: str, file: str, media_type: str) -> HTTPRouteHandler:
    content = (_PAGES / file).read_bytes()

    @get(path, name=f"page {file}", include_in_schema=False)
    async def serve() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return serve
