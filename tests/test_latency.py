"""Glass to glass: numbers that travel in the depth itself, figures made of stamps, and one real measurement."""

from __future__ import annotations

import json

import numpy as np
import pytest

from depthcast.cli import status_of
from depthcast.commands.latency import lines
from depthcast.latency import LatencyError, marked, summed_up
from depthcast.latency import _Stamps as Stamps
from depthcast.viewer import shades
from engines.spec import Unit
from stream.barcode import read
from stream.colour import Colormap
from stream.frame import DepthFrame, DisplayRange
from stream.sinks.picture import Painter
from stream.sources.synthetic import SyntheticSource
from tests.fakes import frame

MS = 1_000_000


@pytest.mark.parametrize("unit", list(Unit))
def test_a_number_survives_in_the_picture_of_its_depth(unit: Unit) -> None:
    source = SyntheticSource(120, 160)
    shown = frame(source.render(0), index=1234)
    map_ = np.random.default_rng(0).uniform(1, 9, (120, 160)).astype(np.float32)
    found = marked(DepthFrame(shown, map_, unit, DisplayRange(2.0, 8.0), False))
    image = Painter(source.info, Colormap.GRAYSCALE).rgb(found)
    assert read(255 - image if unit is Unit.METRE else image) == 1234
    assert found.depth.dtype == np.float32
    assert np.array_equal(found.depth[20:], map_[20:])


def test_figures_of_stamps() -> None:
    stamps = {
        number: Stamps(start := number * 33 * MS, start + 1 * MS, start + 11 * MS, start + 14 * MS, start + 20 * MS)
        for number in range(10, 20)
    }
    stamps[15].seen = 0
    stamps[9] = Stamps(0, 1, 2)
    found = summed_up("rtsp-tcp", stamps)
    assert (found.frames, found.drops) == (9, 1)
    assert [(stage.name, stage.p50_ms) for stage in found.stages] == [
        ("wait", 1), ("network", 10), ("encode", 3), ("transport", 6),
    ]  # fmt: skip
    assert (found.total.p50_ms, found.total.p99_ms) == (20, 20)
    assert list(found.minutes) == [20]
    assert [line.split()[-1] for line in lines(found)][-1] == "20.0"


def test_an_age_that_grows_shows_in_the_minutes() -> None:
    stamps = {
        number: Stamps(t := number * 1000 * MS, t, t, t, t + (50 if number < 60 else 90) * MS) for number in range(120)
    }
    assert summed_up("rtsp-tcp", stamps).minutes == (50.0, 90.0)


def test_what_is_seen_before_the_writer_returns_has_cost_no_transport() -> None:
    found = summed_up("rtsp-tcp", {0: Stamps(0, 0, 0, 9 * MS, 5 * MS)})
    assert [stage.p50_ms for stage in found.stages] == [0, 0, 5, 0]


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(LatencyError, match="rtsp-udp: no picture arrived"):
        summed_up("rtsp-udp", {0: Stamps(0, 1, 2, 3)})


@pytest.mark.parametrize("transport", ["rtsp-tcp", "webrtc", "ws"])
def test_a_real_measurement(transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-t", transport, "--size", "256x192", "--rate", "10", "--seconds", "1", "--threads", "1", "--json"]
    assert status_of(["latency", *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["transport"] == transport
    assert found["frames"] > 0
    assert found["total"]["p50_ms"] > 0
    assert found["stages"][1]["p50_ms"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [(["-t", "pigeon"], "unknown transport 'pigeon': known are rtsp-tcp"), (["--size", "x"], "a size is written")],
)
def test_what_cannot_be_measured_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["latency", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_number_survives_in_a_map_of_numbers() -> None:
    map_ = np.random.default_rng(0).uniform(2.5, 7.5, (120, 160)).astype(np.float32)
    map_[100:] = np.nan
    shown = frame(SyntheticSource(120, 160).render(0), index=77)
    found = marked(DepthFrame(shown, map_, Unit.METRE, DisplayRange(2.0, 8.0), False))
    assert read(shades(found.depth)) == 77
