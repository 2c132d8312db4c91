"""What the cameras of a Linux machine can do, asked of the kernel: Video4Linux2 (linux/videodev2.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

Ask = Callable[[int, bytearray], object]
"""An ioctl on an open device: (request, structure to be filled). Raises OSError."""

_CAPABILITY = struct.Struct("=16s32s32s3I12x")
_FORMAT = struct.Struct("=3I32sI16x")
_SIZE = struct.Struct("=3I6I8x")
_INTERVAL = struct.Struct("=5I6I8x")
_READ, _WRITE = 2, 1
_CAPTURE, _CAPTURE_PLANES, _HAS_DEVICE_CAPS = 0x1, 0x1000, 0x80000000
_PLAIN, _PLANES = 1, 9
_DISCRETE = 1
_MOST = 256
"""Entries of one list; a driver that has no end is not believed."""


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels, and the frame rates there; `to` is the largest size where all between can be had."""

    height: int
    width: int
    rates: tuple[Fraction, ...]
    to: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """How pixels come. code: four characters, such as MJPG."""

    code: str
    name: str
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Camera:
    """A device. problem: why it tells nothing, if so, in a few words."""

    device: str
    name: str = ""
    driver: str = ""
    formats: tuple[Format, ...] = ()
    problem: str = ""


def request(direction: int, number: int, size: int) -> int:
    """The number of an ioctl of this kind: linux/ioctl.h."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERY_CAPABILITY = request(_READ, 0, _CAPABILITY.size)
LIST_FORMATS = request(_READ | _WRITE, 2, _FORMAT.size)
LIST_SIZES = request(_READ | _WRITE, 74, _SIZE.size)
LIST_INTERVALS = request(_READ | _WRITE, 75, _INTERVAL.size)


@contextmanager
def opened(path: Path) -> Iterator[Ask]:
    """The device itself. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield partial(fcntl.ioctl, handle)
    finally:
        os.close(handle)


def cameras(
    folder: Path = Path("/dev"), open_device: Callable[[Path], AbstractContextManager[Ask]] = opened
) -> tuple[Camera, ...]:
    """All devices that give pictures, by number; those that cannot be asked say why."""
    paths = sorted(folder.glob("video[0-9]*"), key=lambda path: int(path.name.removeprefix("video")))
    found = (_camera(path, open_device) for path in paths)
    return tuple(camera for camera in found if camera is not None)


def _camera(path: Path, open_device: Callable[[Path], AbstractContextManager[Ask]]) -> Camera | None:
    """None for a device that gives no pictures, such as the second one of many cameras."""
    try:
        with open_device(path) as ask:
            capability = bytearray(_CAPABILITY.size)
            ask(QUERY_CAPABILITY, capability)
            driver, card, _, _, physical, own = _CAPABILITY.unpack(capability)
            capabilities = own if physical & _HAS_DEVICE_CAPS else physical
            if not capabilities & (_CAPTURE | _CAPTURE_PLANES):
                return None
            kind = _PLAIN if capabilities & _CAPTURE else _PLANES
            return Camera(str(path), _words(card), _words(driver), tuple(_formats(ask, kind)))
    except OSError as error:
        return Camera(str(path), problem=error.strerror or str(error))


def _formats(ask: Ask, kind: int) -> Iterator[Format]:
    for entry in _entries(ask, LIST_FORMATS, lambda index: _FORMAT.pack(index, kind, 0, b"", 0)):
        _, _, _, name, pixels = _FORMAT.unpack(entry)
        yield Format(_words(pixels.to_bytes(4, "little")), _words(name), tuple(_sizes(ask, pixels)))


def _sizes(ask: Ask, pixels: int) -> Iterator[Size]:
    for entry in _entries(ask, LIST_SIZES, lambda index: _SIZE.pack(index, pixels, *(0,) * 7)):
        _, _, kind, *sides = _SIZE.unpack(entry)
        if kind == _DISCRETE:
            width, height = sides[:2]
            yield Size(height, width, tuple(_rates(ask, pixels, width, height)))
        else:
            (width, widest), (height, highest) = sides[:2], sides[3:5]
            yield Size(height, width, tuple(_rates(ask, pixels, widest, highest)), (highest, widest))
            return


def _rates(ask: Ask, pixels: int, width: int, height: int) -> Iterator[Fraction]:
    """Frames per second, the fastest first where the driver says so; of a range both ends."""
    for entry in _entries(ask, LIST_INTERVALS, lambda index: _INTERVAL.pack(index, pixels, width, height, *(0,) * 7)):
        kind, *ratios = _INTERVAL.unpack(entry)[4:]
        pairs = [(ratios[0], ratios[1])] if kind == _DISCRETE else [(ratios[0], ratios[1]), (ratios[2], ratios[3])]
        yield from (Fraction(below, above) for above, below in pairs if above)
        if kind != _DISCRETE:
            return


def _entries(ask: Ask, number: int, packed: Callable[[int], bytes]) -> Iterator[bytearray]:
    """A list of the kernel's, entry by entry, until it says that there is no further one."""
    for index in range(_MOST):
        entry = bytearray(packed(index))
        try:
            ask(number, entry)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        yield entry


def _words(text: bytes) -> str:
    return text.partition(b"\0")[0].decode("latin-1").strip()
