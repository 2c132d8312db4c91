"""Descriptions of cameras as people write them: a field of view, a simple TOML file, the YAML of ROS."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.camera import Camera, Intrinsics, Lens, LensModel
from stream.errors import CameraError
from stream.extras import need

_FORMS = "fov=DEGREES, FILE.toml or FILE.yaml (ROS camera_info)"


def read_camera(text: str) -> Camera:
    """A camera from `fov=70` (degrees from left to right), or from a file. Raises CameraError, ExtraMissing.

    TOML: width, height, fx, fy, cx, cy in pixels; optionally distortion, a list, and model, of which plumb_bob
    (OpenCV's k1 k2 p1 p2 k3) is the default. YAML: what ROS's camera_calibration writes.
    """
    name, assigned, value = text.partition("=")
    if assigned and name == "fov":
        return _seen(value)
    path = Path(text)
    match path.suffix.lower():
        case ".toml":
            return Camera(_from_toml(path))
        case ".yaml" | ".yml":
            return Camera(_from_yaml(path))
        case _:
            raise CameraError(f"a camera is described by {_FORMS}; got {text!r}")


def _seen(value: str) -> Camera:
    try:
        return Camera(fov_degrees=float(value))
    except ValueError as error:
        raise CameraError(f"fov is 1 to 179 degrees from left to right, such as fov=70; got {value!r}") from error


def _from_toml(path: Path) -> Intrinsics:
    try:
        fields = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise CameraError(f"{path} is not TOML: {error}") from error
    with_lens = fields.get("distortion", [])
    return _checked(path, fields, fields.get("model", LensModel.PLUMB_BOB), with_lens)


def _from_yaml(path: Path) -> Intrinsics:
    need("yaml", "robotics", f"a camera described in YAML ({path.name})")
    fields = importlib.import_module("stream.rosyaml").load(_text(path), path)
    try:
        fx, _, cx, _, fy, cy, *_ = fields["camera_matrix"]["data"]
        plain = {
            "height": fields["image_height"],
            "width": fields["image_width"],
            "fx": fx,
            "fy": fy,
            "cx": cx,
            "cy": cy,
        }
        lens = fields.get("distortion_coefficients", {}).get("data", [])
        return _checked(path, plain, fields.get("distortion_model", LensModel.PLUMB_BOB), lens)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CameraError(f"{path} is no camera_info: {error!r} is missing or malformed") from error


def _checked(path: Path, fields: Mapping[str, Any], model: str, coefficients: list[float]) -> Intrinsics:
    try:
        fx, fy, cx, cy = (float(fields[name]) for name in ("fx", "fy", "cx", "cy"))
        return Intrinsics(int(fields["height"]), int(fields["width"]), fx, fy, cx, cy, _lens(model, coefficients))
    except KeyError as error:
        raise CameraError(f"{path} says nothing of {error.args[0]}: width, height, fx, fy, cx, cy are needed") from None
    except (TypeError, ValueError) as error:
        raise CameraError(f"{path} describes no camera: {error}") from error


def _lens(model: str, coefficients: list[float]) -> Lens | None:
    """None for one that bends nothing; missing higher coefficients are zero."""
    numbers = [float(number) for number in coefficients]
    if not any(numbers):
        return None
    kind = LensModel(model)
    return Lens(kind, tuple(numbers + [0.0] * (kind.coefficients - len(numbers))))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise CameraError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CameraError(f"{path} is not a text file") from error
