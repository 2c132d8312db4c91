"""How an engine is compared with its graph: ONNX Runtime on one side, the session of a made-up device on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.onnx import OnnxSession
from engines.session import Session
from engines.spec import ModelSpec
from engines.window import FeatureWindow
from export.engine_check import FirstRow, engine_departure
from tests.fake_device import FakeDevice, FakeNetwork
from tests.tiny import tiny_network

SIZE = (64, 96)


class Brightness(FakeNetwork):
    """The tiny network of the tests; `wrong` is added to every map after the tenth run."""

    wrong = 0.0

    def run(self, addresses: Mapping[str, int], batch: int) -> None:
        self.runs += 1
        height, width = SIZE
        image = self._device.at(addresses["image"], 4 * batch * 3 * height * width).view(np.float32)
        depth = self._device.at(addresses["depth"], 4 * batch * height * width).view(np.float32)
        depth[:] = image.reshape(batch, 3, -1).mean(axis=1).ravel() + (self.wrong if self.runs > 10 else 0.0)


@pytest.mark.parametrize("batches", [(1, 1), (3, 3), (1, 4)])
def test_an_engine_that_does_the_same_does_not_depart(tmp_path: Path, batches: tuple[int, int]) -> None:
    found = compared(tmp_path, 0.0, batches)
    assert found < 1e-5


@pytest.mark.parametrize("wrong", [0.5, math.nan])
def test_a_wrong_map_shows_however_late(tmp_path: Path, wrong: float) -> None:
    assert not compared(tmp_path, wrong, (2, 2)) <= 1e-2


def compared(folder: Path, wrong: float, batches: tuple[int, int]) -> float:
    device, graph = FakeDevice(), tiny_network(folder)
    # Pictures are normalised; this way their brightness is a depth, positive.
    spec = replace(ModelSpec.load(graph.with_suffix(".json")), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    spec.save(graph.with_suffix(".json"))
    network = Brightness(spec.at(*SIZE), device, batches)
    network.wrong = wrong
    return engine_departure(network, spec.at(*SIZE), graph, device, 12).relative


def test_the_first_row_of_several_is_a_stream_like_any(tmp_path: Path) -> None:
    with OnnxSession(tiny_network(tmp_path), SIZE) as session:
        with FirstRow(session, 3) as first:
            got = stepped(first)
        assert got.shape == (1, *SIZE)
        assert np.array_equal(got, stepped(session))
        with pytest.raises(ValueError, match="one stream at a time"):
            FirstRow(session, 3).new_cache(2)


def stepped(session: Session) -> np.ndarray:
    cache = session.new_cache()
    cache.image[:] = np.random.default_rng(0).random(cache.image.shape, np.float32)
    cache.clear()
    return session.step(cache, [FeatureWindow(session.spec.window).plan()]).copy()
