"""The GPU as its driver tells it, and what builds and runs engines where."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from depthcast import gpu
from depthcast.gpu import Accelerator, Gpu, accelerator, first_gpu, required, workshop
from engines.backend import Backend, BackendName, choose_backend
from engines.errors import EngineUnavailable
from tests.fake_device import FakeDevice

CARD = Gpu("Fake GPU", (9, 0), 80 << 30, "CUDA 13.1")
FULL = Backend("tensorrt", "11.4.0", None)


class FakeDriver:
    """libcuda with `count` cards. failing: a function that gives error 999."""

    def __init__(self, count: int = 1, failing: str = "") -> None:
        self.count, self.failing = count, failing

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            values = {"cuDeviceGetCount": self.count, "cuDeviceGet": 0, "cuDriverGetVersion": 13010}
            if name == "cuDeviceGetName":
                ctypes.memmove(arguments[0], CARD.name.encode() + b"\0", len(CARD.name) + 1)
            elif name == "cuDeviceTotalMem_v2":
                arguments[0]._obj.value = CARD.memory_bytes
            elif name == "cuDeviceGetAttribute":
                arguments[0]._obj.value = CARD.capability[arguments[1] - 75]
            elif name in values:
                arguments[0]._obj.value = values[name]
            return 999 if name == self.failing else 0

        return function


@pytest.fixture(autouse=True)
def _no_driver_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "version")


def test_the_driver_tells_name_capability_memory_and_version() -> None:
    assert first_gpu(lambda _name: FakeDriver()) == CARD


def test_the_version_of_the_kernel_module_is_told_where_it_is_listed() -> None:
    gpu.DRIVER.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:03:04 UTC 2025\n")
    assert first_gpu(lambda _name: FakeDriver()).driver == "580.65.06, CUDA 13.1"


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (FakeDriver(count=0), "shows no GPU"),
        (FakeDriver(failing="cuInit"), "cuInit of .* gives error 999"),
        (FakeDriver(failing="cuDeviceGetName"), "cuDeviceGetName"),
    ],
)
def test_a_driver_without_a_usable_gpu_fails(driver: FakeDriver, message: str) -> None:
    with pytest.raises(EngineUnavailable, match=message):
        first_gpu(lambda _name: driver)


def test_no_driver_fails() -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(EngineUnavailable, match="there is no NVIDIA driver here"):
        first_gpu(absent)


def test_what_is_missing_on_a_gpu_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "first_gpu", lambda: CARD)
    monkeypatch.setattr(gpu, "required", lambda choice: required(choice, lambda _module: False))
    with pytest.raises(EngineUnavailable, match=r"Fake GPU needs TensorRT .* cuda-python: pip install 'depthcast\["):
        accelerator()


@pytest.mark.parametrize(("capability", "extra"), [((8, 9), "rtx"), ((9, 0), "tensorrt")])
def test_a_back_end_without_cuda_python_is_not_enough(capability: tuple[int, int], extra: str) -> None:
    has = {"tensorrt", "tensorrt_rtx"}.__contains__
    assert required(choose_backend(capability, has), has) == f"pip install 'depthcast[{extra}]'"
    assert required(choose_backend(capability, has), lambda _module: True) is None


def here() -> Accelerator:
    return Accelerator(FakeDevice(), FULL, "made for it")


def nothing_here() -> Accelerator:
    raise EngineUnavailable("there is no NVIDIA driver here")


def load_rtx(name: BackendName) -> Backend:
    return Backend(name, "1.7", None)


def test_engines_are_built_for_the_gpu_that_is_here() -> None:
    for targets in ((), ("9.0",), ("8.9", "9.0")):
        bench = workshop(targets, here)
        assert (bench.backend, bench.device is None) == (FULL, False)


def test_engines_for_other_gpus_are_built_without_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "load_backend", load_rtx)
    bench = workshop(("8.9",), here)
    assert (bench.backend.name, bench.device) == ("tensorrt_rtx", None)
    assert "Fake GPU is none of the targets" in bench.why


def test_without_a_gpu_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "load_backend", load_rtx)
    assert workshop((), nothing_here).why == "builds without a GPU; no GPU is used: there is no NVIDIA driver here"


def test_without_a_gpu_and_without_tensorrt_for_rtx_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: BackendName) -> Backend:
        raise EngineUnavailable(f"{name} is not installed: pip install it")

    monkeypatch.setattr(gpu, "load_backend", absent)
    with pytest.raises(EngineUnavailable, match=r"there is no NVIDIA driver here, and tensorrt_rtx is not installed"):
        workshop((), nothing_here)
