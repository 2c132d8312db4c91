"""`/live/camera`: a browser brings its camera and takes its depth back. WHIP in shape, but for what returns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response

from depthcast.board import Board
from depthcast.errors import DepthcastError, UsageError
from depthcast.live import LiveStream, LiveStreams
from depthcast.models import MODELS, NANO, Model, find
from depthcast.plan import THIS_MACHINE, Engine, Machine, Route, Wanted, is_stored, plan
from depthcast.service.cameras import CameraLimits, Cameras, CameraWish
from depthcast.service.live import CameraView, ModelView, Name, add_stream_routes, options_router, streams_router
from depthcast.service.page import page_router
from depthcast.service.webrtc import ice_of
from depthcast.service.whip import begun, links_of, result_of
from depthcast.settings import Settings
from depthcast.shapes import Lend
from depthcast.sharing import SharedSessions
from engines.errors import EngineError
from engines.session import Session
from stream.colour import Colormap
from stream.sinks.picture import Style
from stream.webrtc.loop import LoopEnded

_PATH = "/live/camera"
_USUAL = 480, 640
"""(height, width) that browsers are asked for."""


def cameras_of(settings: Settings, host: str, lend: Lend[Session] | None = None, board: Board | None = None) -> Cameras:
    """Places for cameras of browsers.

    host: the address that is listened on. lend: gives the networks; None: each is opened when it is first needed and
    closed when nobody uses it. board: is told how the cameras do.
    """
    lend = lend or SharedSessions(settings.max_cameras, settings).lent
    limits = CameraLimits(settings.max_cameras, settings.max_bitrate)
    return Cameras(lend, settings, ice_of(settings, host), limits, board)


def browser_routers(settings: Settings, cameras: Cameras, streams: LiveStreams | None = None) -> tuple[APIRouter, ...]:
    """The page with all that it asks for, cameras of browsers included.

    streams: those that the page lists; none are known otherwise.
    """
    return (
        page_router(),
        streams_router(LiveStreams() if streams is None else streams),
        options_router(settings.stun_servers, lambda: camera_view(cameras, settings)),
        camera_router(cameras, settings),
    )


def camera_router(cameras: Cameras, settings: Settings) -> APIRouter:
    """Sessions are taken while the application serves."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with cameras:
            yield

    router, endpoint = APIRouter(tags=["live"], lifespan=lifespan), _Endpoint(cameras, settings)
    router.add_api_route(_PATH, endpoint.begin, methods=["POST"], status_code=201, response_class=Response)
    router.add_api_route(_PATH + "/{name}", endpoint.end, methods=["DELETE"], status_code=204)
    add_stream_routes(router, _PATH + "/{name}", endpoint.found)
    return router


@dataclass(frozen=True, slots=True)
class _Endpoint:
    cameras: Cameras
    settings: Settings

    async def begin(
        self,
        request: Request,
        model: str = NANO,
        colormap: Colormap = Colormap.GRAYSCALE,
        side_by_side: bool = False,
    ) -> Response:
        """An SDP offer that sends and takes video (`sendrecv`); answered with the SDP answer and, as Location, the
        session's address, which takes GET, PATCH, DELETE and POST …/reset as a stream does.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/sdp":
            raise HTTPException(415, "the body must be application/sdp")
        try:
            wanted = Wanted(find(model))
            await anyio.to_thread.run_sync(plan, wanted, *_USUAL, self.settings)
        except (DepthcastError, EngineError) as error:
            raise HTTPException(422, str(error)) from error
        wish = CameraWish(wanted, Style(colormap, side_by_side))
        is_known = getattr(request.state, "caller", None) is not None
        links = links_of(self.cameras.ice.servers, with_secrets=is_known)
        return await begun(request, _PATH, lambda offer: self.cameras.open(offer, wish), links)

    async def end(self, name: Name) -> None:
        """Leave the camera."""
        try:
            is_there = await result_of(self.cameras.close(name))
        except (LoopEnded, TimeoutError):
            is_there = False
        if not is_there:
            raise HTTPException(404, "there is no such session")

    def found(self, name: str) -> LiveStream | None:
        """The stream of a session; HTTPException before its first picture."""
        stream = self.cameras.find(name)
        if stream is None and self.cameras.knows(name):
            raise HTTPException(425, "its first picture has not come yet")
        return stream


def camera_view(cameras: Cameras, settings: Settings, machine: Machine = THIS_MACHINE) -> CameraView:
    """What a page can offer to who has a camera: the models that can run here now."""
    models = [ModelView(name=model.label, note=note) for model, note in _models(settings, machine)]
    return CameraView(models=models, places=cameras.places)


def _models(settings: Settings, machine: Machine) -> list[tuple[Model, str]]:
    found = []
    for model in MODELS:
        try:
            route = plan(Wanted(model), *_USUAL, settings, machine)
        except (UsageError, DepthcastError, EngineError):
            continue
        found.append((model, _note(model, route)))
    return found


def _note(model: Model, route: Route) -> str:
    notes = ["metres"] if model.metric else []
    notes += [] if model.commercial else ["not for commercial use"]
    if route.engine is not Engine.TORCH and route.network is not None and not is_stored(route.network):
        notes.append("prepared at the first start: takes minutes")
    return ", ".join(notes)
