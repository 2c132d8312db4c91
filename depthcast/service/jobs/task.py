"""What the service and the process that does its work say to each other: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from depthcast.service.jobs.parameters import Parameters
from depthcast.service.probe import ProbeLimits


@dataclass(frozen=True, slots=True)
class Task:
    """One video to be worked on in `folder`, which holds it under the name `folders.INPUT`.

    output_fps: a fraction as text. fallback: use the embedded model where the one asked for is not here.
    room: bytes that the results may take.
    """

    folder: str
    depth_model: str
    colormap: str
    resolution: str
    max_frames: int | None
    output_fps: str | None
    side_by_side: bool
    include_raw_depths: bool
    mode: str
    fallback: bool
    threads: int | None
    limits: ProbeLimits
    room: int

    @classmethod
    def of(
        cls,
        asked: Parameters,
        folder: Path,
        room: int,
        *,
        mode: str,
        fallback: bool,
        threads: int | None,
        limits: ProbeLimits,
    ) -> Self:
        """The work that a client's parameters mean."""
        return cls(
            folder=str(folder),
            depth_model=asked.depth_model,
            colormap=asked.colormap.value,
            resolution=asked.resolution.value,
            max_frames=asked.max_frames,
            output_fps=None if asked.output_fps is None else str(asked.output_fps),
            side_by_side=asked.side_by_side,
            include_raw_depths=asked.include_raw_depths,
            mode=mode,
            fallback=fallback,
            threads=threads,
            limits=limits,
            room=room,
        )

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """From its JSON form."""
        return cls(**{**said, "limits": ProbeLimits(**said["limits"])})

    def line(self) -> bytes:
        """Its JSON form."""
        return line_of({"task": asdict(self)})


def line_of(message: Mapping[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
