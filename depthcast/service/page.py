"""The page at `/`: files of the package `depthcast/web`, as they are."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response

from depthcast.service.files import StoredFile

WEB = Path(__file__).parents[1] / "web"
_KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), fullscreen=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_router() -> APIRouter:
    """A route for each file; nothing else of the folder's tree can be asked for."""
    router = APIRouter(tags=["page"], include_in_schema=False)
    for path in sorted(WEB.iterdir()):
        if path.suffix in _KINDS:
            _add(router, "/" if path.name == "index.html" else f"/{path.name}", path)
    return router


def _add(router: APIRouter, url: str, path: Path) -> None:

    async def file() -> Response:
        return StoredFile(path, media_type=_KINDS[path.suffix], headers=_HEADERS, stat_result=path.stat())

    router.add_api_route(url, file, methods=["GET"], response_class=Response)
