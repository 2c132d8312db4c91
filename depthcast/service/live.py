"""Streams that run, over HTTP: what they are, how they do, and what may be changed while they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from depthcast import __version__
from depthcast.live import LiveStream, LiveStreams
from depthcast.service.page import page_router
from depthcast.service.security import bearer_of, is_token
from depthcast.settings import Settings
from stream.colour import Colormap
from stream.sinks.picture import Style
from stream.stats import StageStats, Stats

Name = Annotated[str, Path(max_length=200)]
_NO_STORE = {"Cache-Control": "no-store"}


class StageView(BaseModel):
    """Durations over the whole run, milliseconds."""

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float


class StatsView(BaseModel):
    """Counts since the run began; `ages`: from capture until written, for each output."""

    frames_in: int = 0
    frames_out: int = 0
    dropped: int = Field(default=0, description="Replaced by newer frames before inference.")
    sink_dropped: int = Field(default=0, description="Replaced before a slow output took them.")
    resets: int = 0
    held: int = Field(default=0, description="Times the last map was shown again: source away, or paused.")
    failures: int = 0
    reconnects: int = 0
    elapsed_s: float = 0
    ages: list[StageView] = []
    stages: list[StageView] = []


class StreamView(BaseModel):
    """A running stream. Sizes are those of the source's frames, in pixels."""

    name: str
    model: str
    unit: str
    width: int
    height: int
    fps: float = Field(description="Depth frames per second over the last two seconds.")
    viewers: int
    watch: str = Field(description="Where WHEP is spoken, relative to the page; empty where it cannot be joined.")
    colormap: Colormap
    side_by_side: bool
    paused: bool
    stats: StatsView


class StreamsView(BaseModel):
    """All that run."""

    streams: list[StreamView]


class Changes(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    colormap: Annotated[Colormap, Field(strict=False)] | None = None
    side_by_side: bool | None = None
    paused: bool | None = None


class ModelView(BaseModel):
    """A model that can run here; `note`: what a person should know before choosing it."""

    name: str
    note: str


class CameraView(BaseModel):
    """What is offered to browsers with a camera."""

    models: list[ModelView]
    places: int = Field(description="Cameras at a time.")


class IceServerView(BaseModel):
    """As RTCPeerConnection takes it."""

    urls: str


class OptionsView(BaseModel):
    """What this server offers; `camera` is null where cameras of browsers are not taken."""

    version: str
    colormaps: list[Colormap]
    camera: CameraView | None
    ice_servers: list[IceServerView] = Field(description="Those without a password.")


def view_of(stream: LiveStream) -> StreamView:
    """What is known of a stream now."""
    run, style = stream.run, stream.painter.style
    return StreamView(
        name=stream.name,
        model=run.spec.name,
        unit=run.spec.unit.value,
        width=run.info.width,
        height=run.info.height,
        fps=round(run.fps, 2),
        viewers=stream.viewers(),
        watch=stream.watch,
        colormap=style.colormap,
        side_by_side=style.side_by_side,
        paused=run.controls.paused,
        stats=StatsView() if run.stats is None else _stats_view(run.stats),
    )


def _stats_view(stats: Stats) -> StatsView:
    return StatsView(
        frames_in=stats.frames_in,
        frames_out=stats.frames_out,
        dropped=stats.dropped,
        sink_dropped=stats.sink_dropped,
        resets=stats.resets,
        held=stats.held,
        failures=stats.failures,
        reconnects=stats.reconnects,
        elapsed_s=round(stats.elapsed_s, 3),
        ages=[_stage_view(one) for one in stats.ages],
        stages=[_stage_view(one) for one in stats.stages],
    )


def _stage_view(stage: StageStats) -> StageView:
    p50, p95, p99 = (round(value, 2) for value in (stage.p50_ms, stage.p95_ms, stage.p99_ms))
    return StageView(name=stage.name, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def change(stream: LiveStream, changes: Changes) -> None:
    """Do what was asked, from the next frame on."""
    style = stream.painter.style
    colormap = style.colormap if changes.colormap is None else changes.colormap
    beside = style.side_by_side if changes.side_by_side is None else changes.side_by_side
    stream.painter.style = Style(colormap, beside)
    if changes.paused is not None:
        stream.run.controls.paused = changes.paused


def streams_router(streams: LiveStreams) -> APIRouter:
    """`/live/streams`: those that run here."""
    router = APIRouter(prefix="/live/streams", tags=["live"])

    @router.get("")
    async def list_streams(request: Request, response: Response) -> StreamsView:
        """All that run, but for those whose token was not brought; 401 where that leaves none."""
        response.headers.update(_NO_STORE)
        known = [one for one in streams.all if _may_see(request, one)]
        if streams.all and not known:
            raise _unknown_caller()
        return StreamsView(streams=[view_of(one) for one in known])

    add_stream_routes(router, "/{name}", streams.find)
    return router


def add_stream_routes(router: APIRouter, path: str, find: Callable[[str], LiveStream | None]) -> None:
    """What may be asked of one stream, at a path that ends in its `{name}`."""

    def found(name: str, request: Request) -> LiveStream:
        stream = find(name)
        if stream is None:
            raise HTTPException(404, f"no stream {name!r} runs here")
        if not _may_see(request, stream):
            raise _unknown_caller()
        return stream

    @router.get(path)
    async def show(name: Name, request: Request, response: Response) -> StreamView:
        """How it does."""
        response.headers.update(_NO_STORE)
        return view_of(found(name, request))

    @router.patch(path)
    async def alter(name: Name, request: Request, changes: Changes) -> StreamView:
        """Change what is shown, for everybody who watches; `paused` holds the last map and lets frames go."""
        stream = found(name, request)
        change(stream, changes)
        return view_of(stream)

    @router.post(path + "/reset", status_code=204)
    async def reset(name: Name, request: Request) -> None:
        """Forget the past: the next frame is the first of its window and of its range of colours."""
        found(name, request).run.controls.reset()


def _may_see(request: Request, stream: LiveStream) -> bool:
    return stream.token is None or is_token(bearer_of(request.headers), stream.token)


def _unknown_caller() -> HTTPException:
    return HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})


def live_routers(streams: LiveStreams, settings: Settings) -> tuple[APIRouter, ...]:
    """The page, and what it asks for where no cameras of browsers are taken."""
    return page_router(), streams_router(streams), options_router(settings.stun_servers)


def options_router(
    stun_servers: Sequence[str] = (), camera: Callable[[], CameraView | None] = lambda: None
) -> APIRouter:
    """`/live/options`: what a page must know before it begins. camera: asked each time, in a thread of its own."""
    router = APIRouter(prefix="/live", tags=["live"])

    @router.get("/options", response_model_exclude_none=False)
    def options() -> OptionsView:
        """Colour maps, models and servers to choose from."""
        return OptionsView(
            version=__version__,
            colormaps=list(Colormap),
            camera=camera(),
            ice_servers=[IceServerView(urls=one) for one in stun_servers],
        )

    return router
