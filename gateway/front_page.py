"""The front page at `/`: what this is, whether it is ready, what it serves, and a box to try it."""

from pathlib import Path

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

_PAGES = Path(__file__).parent / "pages"
# Looked at anew on every visit: an upgrade shows at once.
_HEADERS = {"cache-control": "no-cache"}


def front_page_handlers() -> list[HTTPRouteHandler]:
    """Return what an application registers to have the front page."""
    return [
        _serve("/", "index.html", "text/html"),
        _serve("/page.css", "page.css", "text/css"),
        _serve("/page.js", "page.js", "text/javascript"),
        _serve("/page.svg", "page.svg", "image/svg+xml"),
    ]


def _serve(path: str, file: str, media_type: str) -> HTTPRouteHandler:
    content = (_PAGES / file).read_bytes()

    @get(path, name=f"page {file}", include_in_schema=False)
    async def serve() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return serve
