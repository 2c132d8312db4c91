"""Streams written in a TOML file: every mistake is told with its line, its field and what to write.

colormap = "turbo"                        # options for all streams, named as those of `depthcast run`

[stream.door]
source = "rtsp://192.0.2.1/stream1"
output = ["rtsp://@:8554/door", "door.mkv"]
side-by-side = true                       # for this one
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

from depthcast.commands.sensing import UNITS, Wish, cloud_rule, limits
from depthcast.errors import UsageError
from depthcast.job import Job
from depthcast.many import NamedJob
from depthcast.models import NANO, find
from depthcast.outputs import Look, check_outputs, segment_length
from depthcast.plan import Engine, Precision, Wanted
from depthcast.publicurl import PublicUrl
from depthcast.sensing import Sensing
from stream.calibration import read_camera
from stream.camera import Camera
from stream.colour import Colormap
from stream.dataouts import FoxgloveServe, RawServe
from stream.errors import CameraError, UriError
from stream.redact import redacted_url
from stream.sinks.file import Resolution
from stream.sources.pipe import is_pipe
from stream.uris import FileIn, FileOut, RtspServe, SinkUri, parse_sink, parse_source
from stream.webrtcuris import WebRtcServe

_TABLE = "stream"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _choice(*allowed: str) -> Callable[[object], str]:
    def one_of(value: object) -> str:
        if value not in allowed:
            raise UsageError(f"one of {', '.join(repr(str(one)) for one in allowed)}")
        return str(value)

    return one_of


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError('text in quotes, such as "…"')
    return value


def _shown(value: object) -> str:
    """What stands in the file; a source or an output may hold a password."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(redacted_url(value) if isinstance(value, str) else value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError("true or false")
    return value


def _number(least: int, most: int = 2**31) -> Callable[[object], int]:
    def number(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UsageError(f"a whole number from {least}" + (f" to {most}" if most < 2**31 else ""))
        return value

    return number


def _rate(value: object) -> Fraction:
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if isinstance(value, bool) or rate <= 0:
        raise UsageError('frames per second above zero, such as 12 or "30000/1001"')
    return rate


def _texts(value: object) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(one, str) and one for one in several):
        raise UsageError('one output or several, such as "depth.mkv" or ["rtsp://@:8554/depth", "depth.mkv"]')
    return tuple(several)


def _camera(value: object) -> Camera:
    try:
        return read_camera(_text(value))
    except CameraError as error:
        raise UsageError(str(error)) from None


def _written(read: Callable[[str], Any]) -> Callable[[object], Any]:
    """What the command line's own reader makes of a text."""
    return lambda value: read(_text(value))


OPTIONS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "model": _text,
        "metric": _flag,
        "checkpoint": _text,
        "engine": _choice(*Engine),
        "precision": _choice(*Precision),
        "input-size": _number(14, 4096),
        "colormap": _choice(*Colormap),
        "resolution": _choice(*Resolution),
        "max-frames": _number(1),
        "output-fps": _rate,
        "segment": _written(segment_length),
        "side-by-side": _flag,
        "threads": _number(1),
        "scene-cut": _flag,
        "camera": _camera,
        "undistort": _flag,
        "unit": _choice(*Wish),
        "limits": _written(limits),
        "scale-to": _text,
        "cloud": _written(cloud_rule),
    }
)
"""What may stand at the top for all streams, and in each stream's table."""
_OF_ALL: Mapping[str, Callable[[object], Any]] = MappingProxyType({"public-url": _written(PublicUrl.of)})
_OF_ONE: Mapping[str, Callable[[object], Any]] = MappingProxyType({"source": _text, "output": _texts})


@dataclass(frozen=True, slots=True)
class _File:
    """The text, for finding the line of what is wrong in it."""

    path: Path
    lines: tuple[str, ...]

    def refusal(self, table: str, key: str, message: str) -> UsageError:
        """An error that names the place. table: a stream's name, or empty for the top."""
        field = ".".join(part for part in (f"{_TABLE}.{table}" if table else "", key) if part)
        return UsageError(f"{self.path}, line {self._line(table, key)}: {field}: {message}")

    def _line(self, table: str, key: str) -> int:
        """Of the key, or of the table's head where the key is not there."""
        inside, head = not table, 1
        for number, line in enumerate(self.lines, 1):
            words = line.partition("#")[0].strip()
            if words.startswith("[") and words.endswith("]"):
                name = re.sub(r"[\"'\s]", "", words[1:-1])
                inside = bool(table) and name in (f"{_TABLE}.{table}", table)
                head = number if inside else head
            elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
        return head


@dataclass(frozen=True, slots=True)
class StreamsConfig:
    """What a file asks for. public_url: what all HTTP servers of its streams are reached by, behind a proxy."""

    jobs: tuple[NamedJob, ...]
    public_url: PublicUrl | None = None


def read_streams(path: Path) -> StreamsConfig:
    """The streams of a TOML file. Raises UsageError, with the line and what to write there."""
    try:
        text = path.read_text()
        content = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    file = _File(path, tuple(text.splitlines()))
    tables = content.pop(_TABLE, None)
    if not isinstance(tables, dict) or not tables or not all(isinstance(one, dict) for one in tables.values()):
        raise UsageError(f"{path} names no streams: write [{_TABLE}.NAME] and, below it, source = … and output = …")
    general = _values(file, "", content, {**OPTIONS, **_OF_ALL})
    public_url = general.pop("public-url", None)
    jobs = tuple(_job(file, name, table, general) for name, table in tables.items())
    _refuse_clashes(file, jobs)
    return StreamsConfig(jobs, public_url)


def _values(
    file: _File, table: str, content: Mapping[str, object], known: Mapping[str, Callable[[object], Any]]
) -> dict[str, Any]:
    values = {}
    for key, value in content.items():
        if key not in known:
            hint = f"write [{_TABLE}.{key}]" if isinstance(value, dict) and not table else "the options are "
            raise file.refusal(table, key, f"unknown here: {hint}{'' if hint[0] == 'w' else ', '.join(known)}")
        try:
            values[key] = known[key](value)
        except UsageError as error:
            raise file.refusal(table, key, f"got {_shown(value)}, write {error}") from None
    return values


def _job(file: _File, name: str, table: Mapping[str, object], general: Mapping[str, Any]) -> NamedJob:
    if not _NAME.fullmatch(name):
        raise file.refusal(name, "", "a name is up to 64 letters, digits and any of _ . -")
    values = {**general, **_values(file, name, table, {**_OF_ONE, **OPTIONS})}
    for key in _OF_ONE:
        if key not in values:
            raise file.refusal(name, "", f"there is no {key}: write {key} = …")
    key = "source"
    try:
        source = parse_source(values["source"])
        key = "output"
        outputs = tuple(parse_sink(text) for text in values["output"])
        check_outputs(source, outputs, values.get("side-by-side", False), values.get("segment"))
        key = "model"
        wanted = _wanted(values)
    except (UriError, UsageError) as error:
        raise file.refusal(name if key in table else "", key, str(error)) from error
    look = Look(
        Colormap(values.get("colormap", Colormap.GRAYSCALE)),
        Resolution(values.get("resolution", Resolution.AUTO)),
        values.get("side-by-side", False),
    )
    bounds = values.get("max-frames"), values.get("output-fps"), values.get("scene-cut", True)
    return NamedJob(name, Job(source, outputs, wanted, look, *bounds, _sensing(values), values.get("segment")))


def _sensing(values: Mapping[str, Any]) -> Sensing:
    plain = Sensing()
    return Sensing(
        camera=values.get("camera"),
        undistort=values.get("undistort", False),
        unit=UNITS[Wish(values["unit"])] if "unit" in values else None,
        limits=values.get("limits", plain.limits),
        scale_to=Path(values["scale-to"]) if "scale-to" in values else None,
        cloud=values.get("cloud", plain.cloud),
    )


def _wanted(values: Mapping[str, Any]) -> Wanted:
    return Wanted(
        find(values.get("model", NANO), values.get("metric", False)),
        engine=Engine(values.get("engine", Engine.AUTO)),
        precision=Precision(values.get("precision", Precision.AUTO)),
        checkpoint=Path(values["checkpoint"]) if "checkpoint" in values else None,
        input_size=values.get("input-size"),
        threads=values.get("threads"),
    )


def _refuse_clashes(file: _File, jobs: tuple[NamedJob, ...]) -> None:
    """No two streams may write to the same place, or read the same pipe."""
    taken: dict[object, str] = {}
    readers: dict[str, str] = {}
    for one in jobs:
        source = one.job.source
        pipe = str(source) if isinstance(source, FileIn) and is_pipe(source.path) else None
        if pipe is not None and (other := readers.setdefault(pipe, one.name)) != one.name:
            raise file.refusal(one.name, "source", f"{_TABLE}.{other} reads it already, a pipe is read once only")
        for uri in one.job.outputs:
            for place, what in _places(uri):
                if (other := taken.setdefault(place, one.name)) != one.name:
                    raise file.refusal(one.name, "output", f"{what} is {_TABLE}.{other}'s already: choose another")


def _places(uri: SinkUri) -> Iterator[tuple[object, str]]:
    match uri:
        case FileOut(path):
            yield path.resolve(), str(path)
        case RtspServe(_, port, _) if port:
            yield port, f"port {port}"
        case WebRtcServe(host, port, name) | RawServe(host, port, name):
            yield (host, port, name), str(uri)
        case FoxgloveServe(_, port) if port:
            yield port, f"port {port}"
        case _:
            pass
