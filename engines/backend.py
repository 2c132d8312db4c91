"""Which TensorRT runs here: the full one, or TensorRT for RTX. Loaded when chosen; their interfaces are nearly one."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from engines.device import Device
from engines.errors import EngineUnavailable

BackendName = Literal["tensorrt", "tensorrt_rtx"]

MODULES: dict[BackendName, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
INSTALL: dict[BackendName, str] = {
    "tensorrt": "pip install 'depthcast[tensorrt]'",
    "tensorrt_rtx": "pip install 'depthcast[rtx]'",
}
LABELS: dict[BackendName, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9))
_RTX_MAJOR = 12

logger = logging.getLogger(__name__)


def is_installed(module: str) -> bool:
    """A module can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None


@dataclass(frozen=True, slots=True)
class Choice:
    """A back end and why it is the one; where it is not installed, `install` says how to get it."""

    name: BackendName
    why: str
    install: str | None


def choose_backend(capability: tuple[int, int] | None, has: Callable[[str], bool] = is_installed) -> Choice:
    """The back end for a GPU of this compute capability; None: for building where there is no GPU."""
    if capability is None:
        return _choice("tensorrt_rtx", "builds without a GPU", has)
    number = "{}.{}".format(*capability)
    if capability not in _RTX_CAPABILITIES and capability[0] != _RTX_MAJOR:
        return _choice("tensorrt", f"TensorRT-RTX does not take compute capability {number}", has)
    rtx = _choice("tensorrt_rtx", f"made for compute capability {number}", has)
    full = _choice("tensorrt", f"TensorRT-RTX, made for compute capability {number}, is not installed", has)
    return full if rtx.install and not full.install else rtx


def _choice(name: BackendName, why: str, has: Callable[[str], bool]) -> Choice:
    return Choice(name, why, None if any(has(module) for module in MODULES[name]) else INSTALL[name])


@dataclass(frozen=True, slots=True)
class Backend:
    """A loaded back end. trt: its module."""

    name: BackendName
    version: str
    trt: Any

    @property
    def label(self) -> str:
        """Name and version for people."""
        return f"{LABELS[self.name]} {self.version}"


def load_backend(name: BackendName) -> Backend:
    """Import a back end. Raises EngineUnavailable with the command that installs it."""
    module = next(filter(is_installed, MODULES[name]), None)
    if module is None:
        raise EngineUnavailable(f"{LABELS[name]} is not installed: {INSTALL[name]}")
    try:
        trt = importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineUnavailable(f"{LABELS[name]} is installed but does not load ({error}): {INSTALL[name]}") from error
    return Backend(name, str(trt.__version__), trt)


def load_device() -> Device:
    """The first visible GPU. Raises EngineUnavailable where there is none, or no way to reach it."""
    try:
        cuda = importlib.import_module("engines.cuda")
    except ImportError as error:
        raise EngineUnavailable(f"cuda-bindings is not installed ({error}): {INSTALL['tensorrt']}") from error
    device: Device = cuda.CudaDevice()
    return device


class Complaints:
    """The last errors a back end has logged; its functions themselves only return None or False.

    sink: the object to hand to the back end as its logger.
    """

    __slots__ = ("_lines", "sink")

    def __init__(self, trt: Any) -> None:
        self._lines: deque[str] = deque(maxlen=4)
        self.sink = _sink_type(trt)(self._hear)

    def _hear(self, is_error: bool, text: str) -> None:
        if is_error:
            self._lines.append(text)
        logger.debug(text)  # an error ends up in an exception, the warnings are for us

    def take(self) -> str:
        """What was complained about since the last call, in one line."""
        text = "; ".join(self._lines) or "no reason given"
        self._lines.clear()
        return text


def _sink_type(trt: Any) -> Any:
    """A subclass of the back end's logger, which exists once the back end is loaded."""
    warning, error = trt.ILogger.WARNING, trt.ILogger.ERROR

    def start(self: Any, hear: Callable[[bool, str], None]) -> None:
        trt.ILogger.__init__(self)
        self.hear = hear

    def log(self: Any, severity: Any, text: str) -> None:
        if severity <= warning:
            self.hear(severity <= error, text.strip())

    return type("Sink", (trt.ILogger,), {"__init__": start, "log": log})
