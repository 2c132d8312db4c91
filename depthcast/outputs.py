"""What a run writes to: checked before anything begins, opened when the source is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

from depthcast.dataouts import FILES, opened_data, opened_data_file
from depthcast.errors import UsageError
from depthcast.live import LiveRun
from depthcast.sensing import NO_SENSING, Sensing
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from engines.spec import ModelSpec
from stream.colour import Colormap
from stream.dataouts import FoxgloveServe, RawServe, ZenohOut
from stream.sinks import NullSink, Sink
from stream.sinks.file import Gray16Sink, NpzSink, Resolution, VideoSink
from stream.sinks.picture import Painter
from stream.sinks.publish import RtspPublishSink
from stream.sinks.repeated import Repeated, repeating
from stream.sinks.rtsp import RtspServeSink
from stream.sinks.segments import SUFFIXES as SEGMENTED
from stream.sinks.segments import Segmented, segment_path, segment_stems
from stream.sinks.unfinished import left_behind
from stream.sources import SourceInfo
from stream.sources.sound import Sound
from stream.uris import FileIn, FileOut, NullOut, RtspPublish, RtspServe, SinkUri, SourceUri
from stream.webrtcuris import WebRtcServe, WhipPublish


@dataclass(frozen=True, slots=True)
class Look:
    """What pictures of depth look like.

    least_rate: of video files, frames a second; those of a slower source are repeated. None: as they come.
    """

    colormap: Colormap = Colormap.GRAYSCALE
    resolution: Resolution = Resolution.AUTO
    side_by_side: bool = False
    least_rate: Fraction | None = None


_PICTURES = RtspServe | RtspPublish | WebRtcServe | WhipPublish
_DATA = RawServe | FoxgloveServe | ZenohOut


def shows_pictures(uri: SinkUri) -> bool:
    """The output is coloured video, not the depth itself."""
    if isinstance(uri, FileOut):
        return uri.path.suffix.lower() == ".mp4"
    return isinstance(uri, _PICTURES)


def is_live(uri: SinkUri) -> bool:
    """Somebody watches while it is made: it is played at its own pace."""
    return isinstance(uri, _PICTURES | _DATA)


def check_outputs(
    source: SourceUri, outputs: Sequence[SinkUri], side_by_side: bool, segment_s: Fraction | None = None
) -> None:
    """Raise UsageError where what is to be written cannot be, or would destroy what is to be read."""
    if not outputs:
        raise UsageError("nothing to write to: name an output with -o")
    if segment_s is not None:
        _check_segments(outputs)
    if side_by_side and not any(map(shows_pictures, outputs)):
        raise UsageError(
            f"--side-by-side makes a video: an output must be .mp4, rtsp:// or webrtc://, got {outputs[0]}"
        )
    served = [(uri.host, uri.port, uri.name) for uri in outputs if isinstance(uri, WebRtcServe)]
    if len(set(served)) < len(served):
        raise UsageError("two webrtc:// outputs have the same address and name: give them different names")
    raw = [(uri.host, uri.port, uri.path) for uri in outputs if isinstance(uri, RawServe)]
    if len(set(raw)) < len(raw):
        raise UsageError("two ws:// outputs have the same address and path: give them different paths")
    sockets = [*raw, *((uri.host, uri.port, "/") for uri in outputs if isinstance(uri, FoxgloveServe))]
    if len(set(sockets)) < len(sockets):
        raise UsageError("a foxglove:// output has the address of another one: give them different ports")
    paths = file_paths(outputs)
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if isinstance(source, FileIn) and _is_same(path, source.path):
            raise UsageError(f"the output would overwrite the input {source}: choose another name")
        if places.count(place) > 1:
            raise UsageError(f"two outputs are the same file: {path}")
        if path.is_dir():
            raise UsageError(f"the output {path} is a folder: give it a file name")
        if path.exists() and not path.is_file():
            raise UsageError(f"the output {path} is a pipe or a device, files are written with going back: name a file")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent} for the output: make it first")


def _check_segments(outputs: Sequence[SinkUri]) -> None:
    paths = [path for path in file_paths(outputs) if path.suffix.lower() in SEGMENTED]
    if not paths:
        raise UsageError(f"--segment divides {', '.join(SEGMENTED)} files: name one with -o, got {outputs[0]}")
    for path in paths:
        try:
            segment_path(path, datetime.now())
        except (ValueError, TypeError) as error:
            raise UsageError(f"{path.name} does not name segments ({error}): write night-%03d{path.suffix}") from error
        except OSError as error:
            raise UsageError(f"there is no folder {path.parent} for the output: make it first") from error


def segment_length(text: str) -> Fraction:
    """Seconds of a length such as 30s, 10m or 1h; UsageError for anything else."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)", text.strip())
    length_s = Fraction(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else Fraction(0)
    if length_s < 1:
        raise UsageError(f"the length of a segment is written 30s, 10m or 1h, and is a second at least; got {text!r}")
    return length_s


def _is_same(output: Path, source: Path) -> bool:
    """One file, by whatever names."""
    return output.resolve() == source.resolve() or (output.exists() and source.exists() and output.samefile(source))


def file_paths(outputs: Sequence[SinkUri]) -> list[Path]:
    """Those of the outputs that are files, or patterns of files."""
    return [uri.path for uri in outputs if isinstance(uri, FileOut)]


def left_behind_by_others(outputs: Sequence[SinkUri], segment_s: Fraction | None) -> Iterator[str]:
    """A sentence for each file that an earlier run of these outputs has recorded and not finished."""
    for path in file_paths(outputs):
        for part in left_behind(path, None if segment_s is None else segment_stems(path)):
            use = "depthcast.read reads it" if part.suffix.lower() == ".npz" else "it can be used as it is"
            yield f"{part} was recorded by a run that was killed: {use}; rename it or remove it"


@contextmanager
def opened_outputs(
    outputs: Sequence[SinkUri],
    run: LiveRun,
    look: Look,
    sound: Callable[[], Sound | None],
    settings: Settings,
    ports: HttpPorts,
    sensing: Sensing = NO_SENSING,
    segment_s: Fraction | None = None,
) -> Iterator[list[Sink]]:
    """Open all and serve what is reached over HTTP inside the block; the sinks are left to be closed or aborted.

    run: what those who watch may know of it. sound: gives the sound that goes with a video.
    ports: what else is served beside them.
    Raises SinkError or UsageError; nothing is left open or written then.
    """
    with ExitStack() as undone:
        sinks: list[Sink] = []
        for uri in outputs:
            if isinstance(uri, WebRtcServe | WhipPublish):
                sink = undone.enter_context(_over_webrtc(uri, run, look, settings, ports))
            elif isinstance(uri, RawServe | FoxgloveServe | ZenohOut):
                sink = opened_data(uri, run.info, sensing, ports)
            elif isinstance(uri, FileOut):
                sink = _recording(uri.path, run, look, sound(), sensing, segment_s)
            else:
                sink = _opened(uri, run.info, look, run.spec)
            undone.callback(sink.abort)
            sinks.append(sink)
        undone.enter_context(ports.serving())
        yield sinks


def _over_webrtc(
    uri: WebRtcServe | WhipPublish, run: LiveRun, look: Look, settings: Settings, ports: HttpPorts
) -> AbstractContextManager[Sink]:
    # Neither the web framework nor aiortc is loaded for runs that have no use for them.
    from depthcast.service.webrtc import brought, viewed

    painter = _painter(run.info, look)
    if isinstance(uri, WhipPublish):
        return nullcontext(brought(uri, run.info, painter, settings))
    return viewed(uri, run, painter, settings, ports)


def _painter(info: SourceInfo, look: Look) -> Painter:
    return Painter(info, look.colormap, look.resolution, look.side_by_side)


def _opened(uri: RtspPublish | RtspServe | NullOut, info: SourceInfo, look: Look, spec: ModelSpec) -> Sink:
    match uri:
        case NullOut():
            return NullSink()
        case RtspServe():
            return RtspServeSink(uri, info, _painter(info, look), spec.unit)
        case RtspPublish():
            return RtspPublishSink(uri, info, _painter(info, look), spec.unit)


def _recording(
    path: Path, run: LiveRun, look: Look, sound: Sound | None, sensing: Sensing, segment_s: Fraction | None
) -> Sink:
    def opened(path: Path, begins_s: Fraction) -> Sink:
        match path.suffix.lower():
            case ".npz":
                return NpzSink(path, run.info, run.spec.name)
            case ".mkv":
                return Gray16Sink(path, run.info)
            case suffix if suffix in FILES:
                return opened_data_file(path, run.info, sensing)
            case _:
                return _video(path, run.info, look, sound, begins_s)

    if segment_s is None or path.suffix.lower() not in SEGMENTED:
        return opened(path, Fraction(0))
    return Segmented(path, segment_s, opened)


def _video(path: Path, info: SourceInfo, look: Look, sound: Sound | None, begins_s: Fraction) -> Sink:
    if look.least_rate is None or info.rate is None or info.rate >= look.least_rate:
        return VideoSink(path, info, look.colormap, look.resolution, look.side_by_side, sound, begins_s)
    told = repeating(info, look.least_rate)
    video = VideoSink(path, told, look.colormap, look.resolution, look.side_by_side, sound)
    return Repeated(video, look.least_rate, info.rate)
