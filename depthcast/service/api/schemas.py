"""Shapes of requests and answers, for the OpenAPI document and for whoever checks answers against it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from depthcast.service.api.catalog import MODEL, model


class Queued(BaseModel):
    """A generation that was just queued."""

    model_config = ConfigDict(extra="forbid")
    generation_id: str
    status: Literal["queued"]


class Enqueued(BaseModel):
    """Answer to a request for generations."""

    model_config = ConfigDict(extra="forbid")
    generations: list[Queued]


class RawDepths(BaseModel):
    """An extension of ours: float32 depth maps, NPZ."""

    url: str
    content_type: str
    file_name: str
    file_size: int


class Item(BaseModel):
    """A generation. Every other parameter stands beside these fields as it was sent.

    Ours, absent where they do not apply: phase, progress, eta_seconds, raw_depths, notes.
    """

    model_config = ConfigDict(extra="allow")
    generation_id: str
    model_name: str
    prompt: Any
    media_type: Literal["image", "video"]
    status: Literal["queued", "processing", "succeeded", "failed", "cancelled"]
    result_url: str | None
    error_message: str | None
    enqueued_at: int
    started_at: int | None
    completed_at: int | None
    target_namespace: str | None
    target_repo: str | None
    target_directory: str | None
    phase: Literal["downloading", "preparing", "estimating"] = "estimating"
    progress: float | None = None
    eta_seconds: int | None = None
    raw_depths: RawDepths | None = None
    notes: list[str] = []


class Items(BaseModel):
    """Rows of the queue."""

    count: int
    generations: list[Item]


class Cancelled(BaseModel):
    """Answer to a cancellation."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["success"]
    generation_id: str


class HistoryItem(Item):
    """A row of the history."""

    cost: str | None
    user_id: str
    username: str
    user_image: str | None


class History(BaseModel):
    """A page of the history."""

    model_config = ConfigDict(extra="forbid")
    count: int
    generations: list[HistoryItem]
    page_number: int
    page_size: int
    total_pages: int
    total_entries: int
    total_cost: str | None


class HistoryEntry(BaseModel):
    """One row of the history."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["success"]
    status_message: Literal["resource_found"]
    generation: HistoryItem


class Video(BaseModel):
    """A result: an address, or the file itself in Base64. raw_depths and notes are ours."""

    url: str | None = None
    b64_json: str | None = None
    raw_depths: RawDepths | None = None
    notes: list[str] = []


class Generated(BaseModel):
    """Answer to a blocking request."""

    model_config = ConfigDict(extra="forbid")
    model: str
    created: int
    videos: list[Video]


class Refusal(BaseModel):
    """Why not, in the first form."""

    type: str
    title: str
    detail: str | None = None


class Refused(BaseModel):
    """The first form of a refusal."""

    error: Refusal
    status: Literal["error"]
    status_message: str


class Unknown(BaseModel):
    """What is wrong with the model that was named."""

    message: str


class NotDispatched(BaseModel):
    """The second form of a refusal."""

    error: Unknown


def answers(success: type[BaseModel], *refusals: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route: 200 and these refusals."""
    documented: dict[int | str, dict[str, Any]] = {200: {"model": success}}
    for status in refusals:
        documented[status] = {"model": Refused | NotDispatched}
    return documented


def _body(queued: bool) -> dict[str, Any]:
    """A request's body, by hand: requests are read more leniently than a schema can say."""
    own: dict[str, Any] = {"model": {"type": "string", "enum": [MODEL]}}
    names = ("target_namespace", "target_repo", "target_directory") if queued else ("target_namespace",)
    own |= {name: {"type": "string", "nullable": True, "maxLength": 500} for name in names}
    if queued:
        own["num_generations"] = {"type": "integer", "minimum": 1, "maximum": 4, "default": 1}
    own["response_format"] = {"type": "string", "enum": ["url", "b64_json"], "default": "url"}
    depth = model()["request_schema"]["properties"]
    sent = {"type": "object", "required": ["model", "video_url"], "properties": own | depth}
    without_url = {name: schema for name, schema in depth.items() if name != "video_url"}
    file = {"video": {"type": "string", "format": "binary", "description": "The video itself; ours."}}
    form = {"type": "object", "required": ["model", "video"], "properties": own | file | without_url}
    content = {"application/json": {"schema": sent}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


ENQUEUE_BODY = _body(queued=True)
GENERATE_BODY = _body(queued=False)
