"""Offline mode for a network that only streams: each window runs forwards and backwards, and the two maps are mixed.

A frame so knows what comes after it as well as what came before. Each direction counts by the frames it had seen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.session import Session
from engines.spec import ModelSpec
from engines.window import FeatureWindow


class TwoWaySession(Closing):
    """A streaming session behind the door of a window session. See `engines.session.WindowSession`.

    session: is closed with this one. frames: T of a window.
    """

    def __init__(self, session: Session, frames: int) -> None:
        self._session = session
        self._spec = replace(session.spec, kind="window", frames=frames)
        self._cache = session.new_cache(1)
        reach = session.spec.window.reach
        seen = np.minimum(np.arange(frames), reach) + 1
        self._share = (seen / (seen + seen[::-1])).astype(np.float32)[:, None, None]

    @property
    def spec(self) -> ModelSpec:
        """The network's description, as that of a window of T frames."""
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]. Raises StepError."""
        forwards, backwards = self._stream(images), self._stream(images[::-1])[::-1]
        mixed: NDArray[np.float32] = backwards + self._share * (forwards - backwards)
        return mixed

    def _stream(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        window = FeatureWindow(self._spec.window)
        maps = np.empty((len(images), *self._spec.map_size), np.float32)
        for depth, image in zip(maps, images, strict=True):
            self._cache.image[0] = image
            depth[:] = self._session.step(self._cache, [window.plan()])[0]
        return maps

    def close(self) -> None:
        """Close the streaming session."""
        self._cache.close()
        self._session.close()
