"""Memory handed over without a copy, and given back when nobody uses it any more."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from engines.dlpack import CPU, CUDA, DeviceArray, OnDevice
from engines.window import FeatureWindow
from stream.estimator import DepthEstimator
from tests.fake_device import FakeDevice
from tests.fakes import FakeSession, textured
from tests.toy_engine import MASKED, toy


class Owner:
    """Memory that can be watched."""

    def __init__(self) -> None:
        self.values = np.arange(24, dtype=np.float32).reshape(1, 4, 6)


def shared() -> tuple[DeviceArray, weakref.ref[Owner]]:
    owner = Owner()
    return DeviceArray(owner.values.ctypes.data, owner.values.shape, (CPU, 0), owner), weakref.ref(owner)


def test_another_library_sees_the_memory_itself() -> None:
    array, owner = shared()
    seen = np.from_dlpack(array)
    assert np.array_equal(seen, np.arange(24, dtype=np.float32).reshape(1, 4, 6))
    held = owner()
    assert held is not None
    held.values[0, 0, 0] = 99
    assert seen[0, 0, 0] == 99


def test_memory_lives_as_long_as_it_is_used() -> None:
    array, owner = shared()
    seen = np.from_dlpack(array)
    del array
    gc.collect()
    assert owner() is not None
    del seen
    gc.collect()
    assert owner() is None


def test_a_capsule_that_nobody_takes_keeps_nothing() -> None:
    array, owner = shared()
    capsule = array.__dlpack__()
    del array, capsule
    gc.collect()
    assert owner() is None


def test_torch_takes_it_too() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    array, owner = shared()
    tensor = torch.from_dlpack(array)
    assert tensor.shape == (1, 4, 6)
    assert float(tensor[0, 3, 5]) == 23
    del tensor, array
    gc.collect()
    assert owner() is None


def test_copies_are_for_others_to_make() -> None:
    array, _ = shared()
    for wish in ({"copy": True}, {"dl_device": (CUDA, 0)}):
        with pytest.raises(BufferError, match="as it is"):
            array.__dlpack__(**wish)


def test_an_engine_of_a_gpu_shares_the_map_of_its_last_step() -> None:
    device = FakeDevice()
    session = toy(device, MASKED)
    cache = session.new_cache(1)
    assert isinstance(cache, OnDevice)
    window = FeatureWindow(MASKED)
    for index in range(3):
        cache.image[:] = index + 1
        expected = session.step(cache, [window.plan()])
        shared_map = cache.device_depth
        assert (shared_map.shape, shared_map.__dlpack_device__()) == ((1, 14, 28), (CUDA, 0))
        there = device.at(shared_map.address, 4 * 14 * 28).view(np.float32).reshape(shared_map.shape)
        assert np.array_equal(there, expected)


def test_an_engine_of_the_processor_has_no_device_map() -> None:
    estimator = DepthEstimator(FakeSession())
    estimator.step_array(textured(0))
    assert estimator.device_depth is None
