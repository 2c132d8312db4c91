"""The sidecar of a compiled network: everything the runtime must know about it, as plain JSON.

The contract between `export` and the runtime is this file beside `model.onnx`, never a Python import.
Axis letters: B batch (streams), T time, C channels, H W pixels, P grid cells of one frame, S window slots.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args

from engines.errors import SpecError

FORMAT = 1

Young = Literal["repeat", "mask"]
Resample = Literal["cubic", "area"]
Kind = Literal["step", "window"]
Precision = Literal["fp32", "fp16", "bf16"]
"""Arithmetic of the matrix products. Caches are float16 in fp16, float32 in the others."""
Pixels = Literal["float32", "uint8"]


class Unit(StrEnum):
    """What a depth value means."""

    RELATIVE = "relative inverse depth"
    """No absolute scale; larger is nearer."""
    METRE = "metre"
    """Distance along the optical axis; larger is farther."""
    INVERSE_METRE = "inverse metre"
    """One over the distance along the optical axis; larger is nearer."""

    @property
    def polarity(self) -> str:
        """Which way values grow, for people and for headers."""
        return "larger is farther" if self is Unit.METRE else "larger is nearer"


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Which frames frame t attends to, as data.

    offsets: oldest first, one entry for each position of the window; `k` means frame t-k, `None` the first frame of
        the stream. The last entry is 0, the new frame itself.
    young: what stands for a frame before the start of the stream: the first frame again, or nothing (masked).
    first_alone: frame 0, which has only itself to attend to, stands at position 0 (the rule of Video Depth Anything's
        streaming code) instead of at the last position.
    """

    offsets: tuple[int | None, ...]
    young: Young
    first_alone: bool

    def __post_init__(self) -> None:
        if not self.offsets or self.offsets[-1] != 0:
            raise ValueError(f"the last offset of a window is the new frame, 0; got {self.offsets[-1:]}")
        if any(offset is not None and offset < 1 for offset in self.offsets[:-1]):
            raise ValueError("cached offsets count frames back from the new one: 1 or more, or None for frame 0")

    @property
    def anchored(self) -> bool:
        """The first frame is kept for the whole stream."""
        return None in self.offsets

    @property
    def reach(self) -> int:
        """How many frames back the oldest frame of the sliding part lies."""
        return max((offset for offset in self.offsets if offset is not None), default=0)

    @property
    def slots(self) -> int:
        """S: cached frames that must be kept, the first one included where it is an anchor."""
        return self.reach + int(self.anchored)


VDA_WINDOW = WindowRule((None, 41, *range(29, -1, -1)), young="repeat", first_alone=True)
"""Window of the reference streaming code: frame 0, frame t-41, frames t-29 … t; 32 positions, 42 slots."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """One cached tensor: graph input `name` [B, P, S, C], graph output `feature` [B, P, C] of the new frame."""

    name: str
    feature: str
    stride: int
    """Pixels of the network's input for each grid cell; P = ⌈height/stride⌉ · ⌈width/stride⌉."""
    channels: int

    def cells(self, height: int, width: int) -> int:
        """P for an input of height × width pixels."""
        return -(-height // self.stride) * -(-width // self.stride)


_NEEDED: dict[Kind, str] = {"step": "a stream needs a step graph", "window": "offline mode needs a window graph"}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Description of one compiled network.

    A *step* graph maps (image, positions int64 [B,S+1], mask float32 [B,S+1], caches) to (depth float32 [B,*map_size],
    features); the last column of positions and mask belongs to the new frame, mask is 1 for a slot in use and 0 for an
    unused one. A *window* graph maps images [T,3,H,W] to depth [T,*map_size].
    Images are RGB: float32 [B,3,H,W] holding (value/255 - mean) / std, or the bytes themselves, uint8 [B,H,W,3].
    """

    name: str
    kind: Kind
    unit: Unit
    precision: Precision
    height: int | None
    """Network input size in pixels; None: any multiple of `multiple`, fixed when the session opens."""
    width: int | None
    multiple: int
    input_size: int
    """Default of the size rule: the shorter side (VDA), or the side of a square of equal area (free-size models)."""
    resample: Resample
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    window: WindowRule
    caches: tuple[CacheSpec, ...]
    frames: int
    """T of a window graph; 1 for a step graph."""
    licence: str
    source: str
    weights_sha256: str
    onnx_sha256: str
    batch: int | None = 1
    """B the graph was exported for; None: any."""
    pixels: Pixels = "float32"
    resized_to: tuple[int, int] | None = None
    """(height, width) that the graph resizes the map to; None: it leaves it at the input's size."""

    def require(self, kind: Kind, found: str) -> None:
        """Raises SpecError where this is another kind of graph. found: what it was met as, "x.onnx is a"."""
        if self.kind != kind:
            raise SpecError(f"{found} {self.kind} graph, {_NEEDED[kind]}")

    def at(self, height: int, width: int) -> ModelSpec:
        """This spec with its input size fixed.

        Raises SpecError where the graph was exported for another size, or the size is not a multiple the net takes.
        """
        if self.height is not None and (self.height, self.width) != (height, width):
            raise SpecError(
                f"{self.name} was exported for {self.height}x{self.width}, the stream needs {height}x{width}: "
                f"run `depthcast export {self.name} --size {height}x{width}`"
            )
        if height % self.multiple or width % self.multiple or height < 1 or width < 1:
            raise SpecError(f"{self.name} takes sizes that are multiples of {self.multiple}, got {height}x{width}")
        return replace(self, height=height, width=width)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) once fixed; SpecError before."""
        if self.height is None or self.width is None:
            raise SpecError(f"the input size of {self.name} is not fixed yet: call spec.at(height, width)")
        return self.height, self.width

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the depth map as it leaves the graph."""
        return self.resized_to or self.size

    def image_shape(self, batch: int) -> tuple[int, int, int, int]:
        """Shape of the image input for `batch` streams; SpecError where the graph takes another number."""
        if self.batch not in (None, batch):
            raise SpecError(
                f"{self.name} was exported for {self.batch} streams a call, {batch} are needed: "
                f"run `depthcast export` with --batch {batch}"
            )
        height, width = self.size
        return (batch, height, width, 3) if self.pixels == "uint8" else (batch, 3, height, width)

    def save(self, path: Path) -> None:
        """Write the sidecar."""
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> ModelSpec:
        """Read a sidecar; SpecError when it is missing or malformed."""
        try:
            fields = json.loads(path.read_text())
            return _from_json(fields)
        except FileNotFoundError:
            raise SpecError(f"no spec beside the model: {path.name} is missing; export the model again") from None
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise SpecError(f"{path.name} is not a valid model spec ({error}); export the model again") from error


def _from_json(fields: dict[str, Any]) -> ModelSpec:
    if (found := fields.pop("format")) != FORMAT:
        raise ValueError(f"format {found}, this version reads format {FORMAT}")
    window = fields.pop("window")
    rule = WindowRule(tuple(window["offsets"]), _one_of(Young, window["young"]), bool(window["first_alone"]))
    return ModelSpec(
        kind=_one_of(Kind, fields.pop("kind")),
        unit=Unit(fields.pop("unit")),
        precision=_one_of(Precision, fields.pop("precision")),
        resample=_one_of(Resample, fields.pop("resample")),
        pixels=_one_of(Pixels, fields.pop("pixels")),
        resized_to=_pair(fields.pop("resized_to")),
        mean=tuple(fields.pop("mean")),
        std=tuple(fields.pop("std")),
        window=rule,
        caches=tuple(CacheSpec(**cache) for cache in fields.pop("caches")),
        **fields,
    )


def _pair(value: list[int] | None) -> tuple[int, int] | None:
    if value is None:
        return None
    height, width = value
    return height, width


def _one_of(choices: Any, value: str) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{value!r} is none of {get_args(choices)}")
    return value


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
