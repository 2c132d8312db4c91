"""What the document of the API says beside the routes: which refusals there may be, and how keys are brought."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_REFUSED = "#/components/schemas/Refused"
_ELSE = {
    "400": "The parameters make no sense.",
    "401": "No key was brought, or a wrong one.",
    "403": "The request may come from a page of another site.",
    "404": "There is nothing of that name.",
    "429": "Too many requests; `Retry-After` says when to come back.",
}


class Application(FastAPI):
    """FastAPI, but for the document."""

    def openapi(self) -> dict[str, Any]:
        """The document. Our routes answer 400 where FastAPI's answer 422, in an envelope of their own."""
        if self.openapi_schema is None:
            document = super().openapi()
            if "Refused" in document.get("components", {}).get("schemas", {}):
                _complete(document)
        assert self.openapi_schema is not None
        return self.openapi_schema


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
