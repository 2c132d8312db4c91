"""The pictures of depth: their size, their colours, and what may change between two of them."""

from __future__ import annotations

import numpy as np

from stream.colour import Colormap
from stream.estimator import DepthEstimator
from stream.sinks.picture import Painter, Style
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeSession


def test_a_new_style_shows_in_the_next_picture() -> None:
    source = SyntheticSource(48, 64, frames=1)
    depth_frame = DepthEstimator(FakeSession()).step(next(iter(source)))
    painter = Painter(source.info)
    grey = painter.rgb(depth_frame)
    painter.style = Style(Colormap.TURBO)
    turbo = painter.rgb(depth_frame)
    assert np.ptp(grey.astype(int), axis=-1).max() == 0
    assert np.ptp(turbo.astype(int), axis=-1).max() > 50
    painter.style = Style(Colormap.TURBO, side_by_side=True)
    assert painter.size == (48, 128)
    beside = painter.rgb(depth_frame)
    np.testing.assert_array_equal(beside[:, 64:], turbo)
    np.testing.assert_array_equal(beside[:, :64], source.render(0))
