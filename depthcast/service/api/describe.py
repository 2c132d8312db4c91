"""Generations as clients see them. What is ours and not the hosted API's is marked so."""

from __future__ import annotations

from typing import Any

from depthcast.service.api.context import Links
from depthcast.service.jobs.bus import Progress
from depthcast.service.jobs.generation import Generation, Status

MEDIA_TYPE = "video"


def item(generation: Generation, links: Links, progress: Progress | None = None) -> dict[str, Any]:
    """A row of the queue: its fields, and every other parameter as it was sent.

    Ours, and absent where they do not apply: `progress`, `phase`, `eta_seconds`, `raw_depths`, `notes`.
    """
    target = generation.target
    row = {
        "generation_id": generation.id,
        "model_name": generation.model,
        "prompt": generation.parameters.get("prompt"),
        "media_type": MEDIA_TYPE,
        "status": generation.status.value,
        "result_url": links.video(generation) if generation.status is Status.SUCCEEDED else None,
        "error_message": generation.error,
        "enqueued_at": generation.enqueued_at,
        "started_at": generation.started_at,
        "completed_at": generation.completed_at,
        "target_namespace": target.namespace,
        "target_repo": target.repo,
        "target_directory": target.directory,
        **extras(generation, links),
    }
    if generation.status is Status.PROCESSING and progress is not None:
        row |= progress_fields(progress)
    return row | {name: value for name, value in generation.parameters.items() if name not in row}


def extras(generation: Generation, links: Links) -> dict[str, Any]:
    """What a result has beyond the hosted API: raw depth where it was asked for, and remarks."""
    made = generation.made
    if made is None:
        return {}
    found: dict[str, Any] = {}
    if made.raw_bytes is not None:
        found["raw_depths"] = {
            "url": links.raw(generation),
            "content_type": "application/octet-stream",
            "file_name": raw_name(generation.id),
            "file_size": made.raw_bytes,
        }
    if made.notes:
        found["notes"] = list(made.notes)
    return found


def progress_fields(progress: Progress) -> dict[str, Any]:
    """How far a running job is: `progress` from 0 to 1 of its present phase, null where its end is not known."""
    return {
        "phase": progress.phase,
        "progress": None if progress.share is None else round(progress.share, 4),
        "eta_seconds": None if progress.eta_s is None else round(progress.eta_s),
    }


def completed(generation: Generation, links: Links) -> dict[str, Any]:
    """The event of a generation that has ended by itself."""
    head = {"generation_id": generation.id, "status": generation.status.value, "media_type": MEDIA_TYPE}
    if generation.status is Status.FAILED:
        return head | {"error": generation.error}
    return head | {"model": generation.model, "url": links.video(generation), **extras(generation, links)}


def progressed(progress: Progress) -> dict[str, Any]:
    """The event of a running generation; ours."""
    return {
        "generation_id": progress.generation_id,
        "status": Status.PROCESSING.value,
        "media_type": MEDIA_TYPE,
        **progress_fields(progress),
    }


def history(generation: Generation, links: Links) -> dict[str, Any]:
    """A row of the history."""
    who = {"cost": None, "user_id": generation.owner, "username": generation.owner, "user_image": None}
    return item(generation, links) | who


def video_name(generation_id: str) -> str:
    """Name under which a result is saved."""
    return f"{generation_id}_depth_output.mp4"


def raw_name(generation_id: str) -> str:
    """Name under which raw depth is saved."""
    return f"{generation_id}_raw_depths.npz"
