"""GET /api/ai/models: what can be asked for. No key is needed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from depthcast.service.answers import Json
from depthcast.service.api.catalog import ACTION, MODEL, MODEL_UUID, model, older_model
from depthcast.service.errors import DispatchError

router = APIRouter(tags=["models"], default_response_class=Json)
Word = Annotated[str | None, Query(max_length=200)]


@router.get("/api/ai/models")
async def list_models(developer_name: Word = None, action: Word = None, provider_name: Word = None) -> Json:
    """All models, or those of a developer, for an action, of a provider."""
    found = model()
    fits = (
        developer_name is None or developer_name.lower() == found["developer"]["name"].lower(),
        action is None or action == ACTION,
        provider_name is None or provider_name.lower() in (found["owned_by"], found["developer"]["name"].lower()),
    )
    return Json({"object": "list", "data": [found] if all(fits) else []})


@router.get("/api/ai/models/search")
async def search_models(search: Word = None) -> Json:
    """Models whose name or description holds the words."""
    found = model()
    text = " ".join((found["id"], found["display_name"], found["summary"], found["description"])).lower()
    return Json({"object": "list", "data": [found] if all(w in text for w in (search or "").lower().split()) else []})


@router.get("/api/ai/models/{model_id}")
async def get_model(model_id: str) -> Json:
    """One model, with the schema of its requests as `request_schema` and `json_request_schema`."""
    require_model(model_id)
    return Json(model())


@router.get("/api/evaluations/models")
async def list_older() -> Json:
    """The same in the form of an older list that some clients read."""
    return Json({"models": [older_model()]})


def require_model(name: object) -> None:
    """Raise DispatchError unless this is our model, by name or by UUID."""
    if name is None or name == "":
        raise DispatchError(400, "You must specify a model to call")
    if name not in (MODEL, MODEL_UUID):
        raise DispatchError(404, f"Model not found: {name if isinstance(name, str) else '?'}")
