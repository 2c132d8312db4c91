"""What the document of the API says beside the routes: which refusals there may be, and how keys are brought."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

_REFUSED = "#/components/schemas/Refused"
_ELSE = {
    "400": "The parameters make no sense.",
    "401": "No key was brought, or a wrong one.",
    "403": "The request may come from a page of another site.",
    "404": "There is nothing of that name.",
    "429": "Too many requests; `Retry-After` says when to come back.",
}


_PREFIX = "depthcast.prefix"


class Application(FastAPI):
    """FastAPI, but for the document, and for a proxy before it, which may take the prefix of its paths away, or not.

    prefix: what all paths begin with outside, such as `/depth`. Paths may have it here too, and a slash at their end.
    """

    def __init__(self, title: str, version: str, prefix: str = "") -> None:
        super().__init__(title=title, version=version, docs_url=None, redoc_url=None, redirect_slashes=False)
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or send to the page's own path, below which the page finds its files."""
        if scope["type"] not in ("http", "websocket"):
            await super().__call__(scope, receive, send)
            return
        place = self._place_of(scope)
        if not place and scope["type"] == "http":
            await RedirectResponse(f"{quote(self._prefix)}/", 307)(scope, receive, send)
            return
        await super().__call__({**scope, "path": place or "/", _PREFIX: self._prefix}, receive, send)

    def _place_of(self, scope: Scope) -> str:
        """Our own path of a request; empty for the prefix itself."""
        path: str = scope["path"]
        is_inside = bool(self._prefix) and (path == self._prefix or path.startswith(self._prefix + "/"))
        inside = path.removeprefix(self._prefix) if is_inside else path
        # A path of ours may begin as the prefix does, so what is there as it is comes first.
        tried = (path, inside, path.rstrip("/"), inside.rstrip("/"))
        return next((one for one in tried if one and self._leads_somewhere(scope, one)), inside)

    def _leads_somewhere(self, scope: Scope, path: str) -> bool:
        seen = {**scope, "path": path}
        return any(route.matches(seen)[0] is not Match.NONE for route in self.router.routes)

    def openapi(self) -> dict[str, Any]:
        """The document. Our routes answer 400 where FastAPI's answer 422, in an envelope of their own."""
        if self.openapi_schema is None:
            document = super().openapi()
            if self._prefix:
                document["servers"] = [{"url": quote(self._prefix)}]
            if "Refused" in document.get("components", {}).get("schemas", {}):
                _complete(document)
        assert self.openapi_schema is not None
        return self.openapi_schema


def outside(request: Request, path: str) -> str:
    """A path of ours as clients are to ask for it."""
    return f"{quote(request.scope.get(_PREFIX, ''))}{path}"


async def docs() -> HTMLResponse:
    """The page of the API for people. It finds the document beside itself, whatever the proxy calls both."""
    return get_swagger_ui_html(openapi_url="openapi.json", title="depthcast")


def _complete(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        if not path.startswith("/api/"):
            continue
        for operation in operations.values():
            operation["security"] = [{}, {"key": []}]
            answers = operation["responses"]
            answers.pop("422", None)
            for status, words in _ELSE.items():
                if status != "404" or "{" in path:
                    answers.setdefault(status, _refusal(words))


def _refusal(words: str) -> dict[str, Any]:
    either = [{"$ref": _REFUSED}, {"$ref": _REFUSED.replace("Refused", "NotDispatched")}]
    return {"description": words, "content": {"application/json": {"schema": {"anyOf": either}}}}
