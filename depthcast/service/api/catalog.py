"""The one model of this service, described as the hosted API describes it."""

from __future__ import annotations

import uuid
from typing import Any

from depthcast.service.jobs.parameters import DEFAULT_DEPTH_MODEL, DEPTH_MODELS
from stream.colour import Colormap
from stream.sinks.file import Resolution

MODEL = "bytedance-depth-anything-video"
MODEL_UUID = str(uuid.uuid5(uuid.NAMESPACE_URL, MODEL))
ACTION = "video_to_video"

_SCHEMA: dict[str, Any] = {
    "title": "Input",
    "type": "object",
    "required": ["video_url"],
    "basic": ["video_url"],
    "properties": {
        "video_url": {
            "type": "string",
            "format": "uri",
            "title": "Video URL",
            "description": "URL of the input video to estimate depth for.",
            "renderType": "video-url",
            "x-order": 0,
        },
        "depth_model": {
            "type": "string",
            "enum": list(DEPTH_MODELS),
            "default": DEFAULT_DEPTH_MODEL,
            "title": "Depth Model",
            "description": "Size of the network: VDA-Large is the best, VDA-Small the fastest.",
            "x-order": 1,
        },
        "colormap": {
            "type": "string",
            "enum": [each.value for each in Colormap],
            "default": Colormap.GRAYSCALE.value,
            "title": "Colormap",
            "description": "Colours of the depth video.",
            "x-order": 2,
        },
        "resolution": {
            "type": "string",
            "enum": [each.value for each in Resolution],
            "default": Resolution.AUTO.value,
            "title": "Resolution",
            "description": "Size of the output; auto keeps the input's up to 1080p.",
            "x-order": 3,
        },
        "max_frames": {
            "type": "integer",
            "nullable": True,
            "title": "Max Frames",
            "description": "Most frames to process; unset for all.",
            "x-order": 4,
        },
        "output_fps": {
            "type": "number",
            "nullable": True,
            "title": "Output FPS",
            "description": "Frame rate of the output; unset for the input's.",
            "x-order": 5,
        },
        "side_by_side": {
            "type": "boolean",
            "default": False,
            "title": "Side By Side",
            "description": "The original beside its depth.",
            "x-order": 6,
        },
        "include_raw_depths": {
            "type": "boolean",
            "default": False,
            "title": "Include Raw Depths",
            "description": "Also give the float32 depth maps as an NPZ file.",
            "x-order": 7,
        },
    },
}
_SUMMARY = "Consistent depth maps from video"
_DESCRIPTION = "Temporally consistent depth for a video."
_CAPABILITIES = {"input": ["video"], "output": ["video"]}


def model() -> dict[str, Any]:
    """The model, with its schema under both names that clients know."""
    return {
        "id": MODEL,
        "object": "model",
        "created": 1760000000,
        "owned_by": "oxen",
        "display_name": "Depth Anything Video",
        "summary": _SUMMARY,
        "description": _DESCRIPTION,
        "model_type": "base",
        "endpoint": "/videos/generate",
        "capabilities": _CAPABILITIES,
        "pricing": {"method": "time", "cost_per_second": None},
        "fine_tuning": None,
        "deployments": [],
        "developer": {"name": "ByteDance", "logo": None},
        "source_model": None,
        "image_url": None,
        "released_at": None,
        "request_schema": _SCHEMA,
        "json_request_schema": _SCHEMA,
    }


def older_model() -> dict[str, Any]:
    """The model in the form of the older list."""
    return {
        "name": MODEL,
        "display_name": "Depth Anything Video",
        "summary": _SUMMARY,
        "description": _DESCRIPTION,
        "capabilities": _CAPABILITIES,
        "provider": "oxen",
        "json_request_schema": _SCHEMA,
    }
