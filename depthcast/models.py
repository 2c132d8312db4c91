"""The models that can run, where their weights come from, and under which licence."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from depthcast.errors import UsageError
from depthcast.settings import Settings
from engines.spec import Unit

NANO = "nano"
PACKAGED_NANO = Path(__file__).parent / "weights" / "depthcast-nano.onnx"


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint on the hub.

    size, sha256: known beforehand, or None: then what the hub itself announces is checked.
    """

    repository: str
    file: str
    size: int | None = None
    sha256: str | None = None

    def path(self, settings: Settings) -> Path:
        """Where `depthcast pull` puts it."""
        return settings.checkpoints / self.file


@dataclass(frozen=True, slots=True)
class Model:
    """One network that can be asked for by name.

    weights: None for the model that comes with the package.
    """

    name: str
    unit: Unit
    licence: str
    commercial: bool
    parameters: int
    weights: Weights | None

    @property
    def metric(self) -> bool:
        """Depth is in metres."""
        return self.unit is Unit.METRE

    @property
    def options(self) -> str:
        """The command-line words that name this model."""
        return f"{self.name} --metric" if self.metric else self.name

    @property
    def pull_options(self) -> str:
        """The words that `depthcast pull` needs for this model."""
        return self.options if self.commercial else f"{self.options} --accept-licence"

    @property
    def label(self) -> str:
        """A name that also tells the metric variant, as specs of exported networks have it."""
        return f"{self.name}-Metric" if self.metric else self.name


def _official(size: str, letter: str, parameters: int, relative: Weights, metric: Weights) -> tuple[Model, Model]:
    commercial = letter == "s"
    licence = "Apache-2.0" if commercial else "CC-BY-NC-4.0"
    return (
        Model(f"VDA-{size}", Unit.RELATIVE, licence, commercial, parameters, relative),
        Model(f"VDA-{size}", Unit.METRE, licence, commercial, parameters, metric),
    )


# The two pinned digests are those that public projects quote; the hub announces the same kind for the others.
MODELS: tuple[Model, ...] = (
    Model(NANO, Unit.RELATIVE, "Apache-2.0", True, 0, None),
    *_official(
        "Small",
        "s",
        29_080_193,
        Weights(
            "depth-anything/Video-Depth-Anything-Small",
            "video_depth_anything_vits.pth",
            116_440_756,
            "13379300b739e659f076a59d52e9801bd8d38c541a7e71f73bbca4dcfb013609",
        ),
        Weights(
            "depth-anything/Metric-Video-Depth-Anything-Small",
            "metric_video_depth_anything_vits.pth",
            116_444_063,
            "3c28432b4e1f0d7bb31cad5151b6313b49457db5aa58d82e85bfb0f8b1311b33",
        ),
    ),
    *_official(
        "Base",
        "b",
        114_531_521,
        Weights("depth-anything/Video-Depth-Anything-Base", "video_depth_anything_vitb.pth"),
        Weights("depth-anything/Metric-Video-Depth-Anything-Base", "metric_video_depth_anything_vitb.pth"),
    ),
    *_official(
        "Large",
        "l",
        384_554_177,
        Weights("depth-anything/Video-Depth-Anything-Large", "video_depth_anything_vitl.pth"),
        Weights("depth-anything/Metric-Video-Depth-Anything-Large", "metric_video_depth_anything_vitl.pth"),
    ),
)


def find(name: str, metric: bool = False) -> Model:
    """The model of that name, in any case; `VDA-Small-Metric` says the same as `VDA-Small` with `metric`.

    UsageError for an unknown name or a variant that does not exist.
    """
    by_label = {model.label.lower(): model for model in MODELS}
    model = by_label.get(name.lower())
    if model is None:
        near = difflib.get_close_matches(name.lower(), by_label, n=1)
        names = dict.fromkeys(model.name for model in MODELS)
        hint = f"did you mean {by_label[near[0]].label}?" if near else f"known are {', '.join(names)}"
        raise UsageError(f"unknown model {name!r}: {hint}")
    if not metric or model.metric:
        return model
    if variant := by_label.get(f"{model.name}-Metric".lower()):
        return variant
    raise UsageError(f"{model.name} gives relative depth only: --metric needs VDA-Small, VDA-Base or VDA-Large")
