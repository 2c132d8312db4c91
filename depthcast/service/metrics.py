"""Figures for Prometheus, asked for at `/metrics`. Nothing is counted here: a board is read when somebody asks.

Counters begin at 0 with each run of a stream, as Prometheus expects of what is restarted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from depthcast.board import Board, State, Status
from stream.stats import EDGES_MS, StageStats, Stats

_COUNTS = (
    ("frames_in", "frames_in", "Frames taken from the source."),
    ("frames_out", "frames_out", "Depth frames given to the outputs."),
    ("window_resets", "resets", "Times the temporal window was restarted, the first frame included."),
    ("frames_held", "held", "Times the last map was shown again while the source was away."),
    ("step_failures", "failures", "Steps in which the engine failed."),
    ("source_damaged", "damaged", "Packets and frames of the source with errors."),
    ("source_reconnects", "reconnects", "Times the source went away and came back."),
)
"""Name, field of `Stats`, and meaning."""


def metrics_router(board: Board) -> APIRouter:
    """`GET /metrics` of this board and of the process."""
    registry = CollectorRegistry()
    registry.register(_BoardCollector(board))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Figures of all streams in the text format of Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _BoardCollector(Collector):
    """Turns statuses into metrics."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        """All families, streams as labels."""
        statuses = self._board.statuses
        yield from _states(statuses)
        running = [(status.name, status.stats) for status in statuses if status.stats is not None]
        yield from _counts(running)
        yield _dropped(running)
        yield _queues(running)
        yield _flicker(running)
        yield _histogram("age_seconds", "From capture until written, for each output.", "output", running, "ages")
        yield _histogram("stage_seconds", "Time in each stage; stages overlap.", "stage", running, "stages")
        yield from _watched(running)


def _states(statuses: Sequence[Status]) -> Iterator[Metric]:
    state = GaugeMetricFamily("depthcast_stream_state", "1 at the stream's state.", labels=["stream", "state"])
    restarts = CounterMetricFamily("depthcast_stream_restarts", "Runs begun after a failure.", labels=["stream"])
    for status in statuses:
        for one in State:
            state.add_metric([status.name, one.value], int(status.state is one))
        restarts.add_metric([status.name], status.restarts)
    yield state
    yield restarts


def _counts(running: Sequence[tuple[str, Stats]]) -> Iterator[Metric]:
    for name, field, meaning in _COUNTS:
        family = CounterMetricFamily(f"depthcast_{name}", meaning, labels=["stream"])
        for stream, stats in running:
            family.add_metric([stream], getattr(stats, field))
        yield family


def _dropped(running: Sequence[tuple[str, Stats]]) -> Metric:
    family = CounterMetricFamily(
        "depthcast_frames_dropped",
        "Frames replaced by newer ones: before the network took them, or before an output did.",
        labels=["stream", "reason", "output"],
    )
    for stream, stats in running:
        family.add_metric([stream, "network busy", ""], stats.dropped)
        for sink in stats.sinks:
            family.add_metric([stream, "output busy", sink.name], sink.dropped)
    return family


def _queues(running: Sequence[tuple[str, Stats]]) -> Metric:
    family = GaugeMetricFamily("depthcast_queue_frames", "Frames that wait.", labels=["stream", "before"])
    for stream, stats in running:
        family.add_metric([stream, "network"], stats.waiting)
        for sink in stats.sinks:
            family.add_metric([stream, sink.name], sink.waiting)
    return family


def _flicker(running: Sequence[tuple[str, Stats]]) -> Metric:
    family = GaugeMetricFamily(
        "depthcast_flicker_ratio",
        "Median relative change of depth between frames where the picture stands still.",
        labels=["stream"],
    )
    for stream, stats in running:
        if stats.flicker is not None:
            family.add_metric([stream], stats.flicker)
    return family


def _histogram(name: str, meaning: str, label: str, running: Sequence[tuple[str, Stats]], field: str) -> Metric:
    family = HistogramMetricFamily(f"depthcast_{name}", meaning, labels=["stream", label])
    for stream, stats in running:
        stages: tuple[StageStats, ...] = getattr(stats, field)
        for stage in stages:
            edges = [f"{edge / 1000:g}" for edge in EDGES_MS]
            buckets = [*zip(edges, map(float, stage.within), strict=True), ("+Inf", float(stage.count))]
            family.add_metric([stream, stage.name], buckets, stage.sum_ms / 1000)
    return family


def _watched(running: Sequence[tuple[str, Stats]]) -> Iterator[Metric]:
    viewers = GaugeMetricFamily("depthcast_viewers", "Who watch an output now.", labels=["stream", "output"])
    sent = CounterMetricFamily(
        "depthcast_sent_bytes",
        "Encoded video sent; 8 times its rate is the bitrate.",
        labels=["stream", "output"],
    )
    for stream, stats in running:
        for sink in stats.sinks:
            if sink.viewers is not None and sink.sent_bytes is not None:
                viewers.add_metric([stream, sink.name], sink.viewers)
                sent.add_metric([stream, sink.name], sink.sent_bytes)
    yield viewers
    yield sent
