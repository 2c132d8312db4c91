"""The GPU of this machine, asked of its driver alone, and TensorRT for it."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.backend import INSTALL, LABELS, Backend, Choice, choose_backend, is_installed, load_backend, load_device
from engines.device import Device
from engines.errors import EngineUnavailable

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
DRIVER = Path("/proc/driver/nvidia/version")
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver's interface."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first visible GPU. driver: its version, as the driver tells it."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    driver: str


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU, the TensorRT that runs on it, and why that one."""

    device: Device
    backend: Backend
    why: str


@dataclass(frozen=True, slots=True)
class Workshop:
    """What builds engines. device: None where they are built without a GPU, and so not verified; `why` says it."""

    backend: Backend
    device: Device | None
    why: str


def first_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """What the driver says. Raises EngineUnavailable where there is no driver or no GPU."""
    try:
        cuda = load(LIBRARY)
    except OSError:
        raise EngineUnavailable(f"there is no NVIDIA driver here ({LIBRARY})") from None
    number, handle, memory, name = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    _call(cuda, "cuInit", 0)
    _call(cuda, "cuDeviceGetCount", ctypes.byref(number))
    if not number.value:
        raise EngineUnavailable("the NVIDIA driver shows no GPU")
    _call(cuda, "cuDeviceGet", ctypes.byref(handle), 0)
    _call(cuda, "cuDeviceGetName", name, len(name), handle)
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
    return Gpu(
        name=name.value.decode(),
        capability=(_attribute(cuda, _MAJOR, handle), _attribute(cuda, _MINOR, handle)),
        memory_bytes=memory.value,
        driver=_driver(cuda),
    )


def _call(cuda: Any, function: str, *arguments: object) -> None:
    if status := getattr(cuda, function)(*arguments):
        raise EngineUnavailable(f"no NVIDIA GPU can be used here: {function} of {LIBRARY} gives error {status}")


def _attribute(cuda: Any, which: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), which, handle)
    return value.value


def _driver(cuda: Any) -> str:
    version = ctypes.c_int()
    _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
    major, minor = divmod(version.value, 1000)
    told = re.search(r"Kernel Module\D*([\d.]+)", DRIVER.read_text()) if DRIVER.exists() else None
    return f"{f'{told[1]}, ' if told else ''}CUDA {major}.{minor // 10}"


def required(choice: Choice, has: Callable[[str], bool] = is_installed) -> str | None:
    """The command that installs what a back end needs on a GPU; None where all of it is there."""
    return choice.install or (None if has("cuda") else INSTALL[choice.name])


def accelerator() -> Accelerator:
    """The GPU of this machine with TensorRT, loaded.

    Raises EngineUnavailable: what is missing, and what to install.
    """
    gpu = first_gpu()
    choice = choose_backend(gpu.capability)
    if install := required(choice):
        raise EngineUnavailable(f"{gpu.name} needs {LABELS[choice.name]} ({choice.why}) and cuda-python: {install}")
    return Accelerator(load_device(), load_backend(choice.name), choice.why)


def workshop(targets: Sequence[str], find: Callable[[], Accelerator] = accelerator) -> Workshop:
    """What builds engines here: for this machine's GPU, or without one, or for the GPUs of other machines.

    targets: compute capabilities ("8.9"); none: for this machine.
    Raises EngineUnavailable where no back end is installed that could.
    """
    try:
        here = find()
    except EngineUnavailable as error:
        return _without_gpu(f"no GPU is used: {error}")
    if targets and "{}.{}".format(*here.device.capability) not in targets:
        return _without_gpu(f"{here.device.name} is none of the targets")
    return Workshop(here.backend, here.device, here.why)


def _without_gpu(why: str) -> Workshop:
    choice = choose_backend(None)
    try:
        return Workshop(load_backend(choice.name), None, f"{choice.why}; {why}")
    except EngineUnavailable as error:
        raise EngineUnavailable(f"engines cannot be built here: {why}, and {error}") from error
