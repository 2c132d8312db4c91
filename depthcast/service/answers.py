"""JSON as clients of the hosted API read it."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse


class Json(JSONResponse):
    """Compact, and ASCII only: some clients take an answer without a charset for Latin-1."""

    def render(self, content: object) -> bytes:
        """The body."""
        return compact(content).encode("ascii")


def compact(content: object) -> str:
    """JSON without spaces, ASCII only."""
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
