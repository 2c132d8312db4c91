"""Cameras of this machine: a kernel that answers as `linux/videodev2.h` says, down to the bytes."""

from __future__ import annotations

import errno
import json
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest

from depthcast.cli import status_of
from depthcast.commands.devices import lines
from stream.uris import CameraIn, parse_source

if sys.platform != "linux":
    pytest.skip("Video4Linux2 is Linux's", allow_module_level=True)

from stream.sources import v4l2
from stream.sources.v4l2 import Ask, Camera, Size, cameras

MJPG, YUYV = int.from_bytes(b"MJPG", "little"), int.from_bytes(b"YUYV", "little")
SIZES = {MJPG: [(1280, 720), (640, 480)], YUYV: [(640, 480)]}
INTERVALS = {(1280, 720): [(1, 30)], (640, 480): [(1, 30), (1001, 30000), (1, 15)]}


class Kernel:
    """Structures are written at the offsets of the header, not with the code's own layouts."""

    def __init__(self, capabilities: int = 0x84200001, own: int = 0x04200001, stepwise: bool = False) -> None:
        self._capabilities = capabilities, own
        self._stepwise = stepwise

    def ask(self, request: int, data: bytearray) -> None:
        known = {0x80685600: self._query, 0xC0405602: self._format, 0xC02C564A: self._size, 0xC034564B: self._interval}
        assert len(data) == request >> 16 & 0x3FFF
        known[request](data)

    def _query(self, data: bytearray) -> None:
        data[0:8], data[16:31] = b"uvcvideo", b"Integrated Cam."
        struct.pack_into("=II", data, 84, *self._capabilities)

    def _format(self, data: bytearray) -> None:
        index, kind = struct.unpack_from("=II", data)
        assert kind == 1
        if index > 1:
            raise OSError(errno.EINVAL, "no more")
        name = (b"Motion-JPEG", b"YUYV 4:2:2")[index]
        data[12 : 12 + len(name)] = name
        struct.pack_into("=I", data, 44, (MJPG, YUYV)[index])

    def _size(self, data: bytearray) -> None:
        index, pixels = struct.unpack_from("=II", data)
        if index >= (1 if self._stepwise else len(SIZES[pixels])):
            raise OSError(errno.EINVAL, "no more")
        if self._stepwise:
            struct.pack_into("=7I", data, 8, 3, 32, 2592, 2, 16, 1944, 2)
        else:
            struct.pack_into("=3I", data, 8, 1, *SIZES[pixels][index])

    def _interval(self, data: bytearray) -> None:
        index, _, width, height = struct.unpack_from("=4I", data)
        if self._stepwise:
            struct.pack_into("=7I", data, 16, 3, 1, 90, 1, 1, 1, 1)
            return
        if index >= len(INTERVALS[width, height]):
            raise OSError(errno.EINVAL, "no more")
        struct.pack_into("=3I", data, 16, 1, *INTERVALS[width, height][index])


def listed(folder: Path, **devices: Kernel | OSError) -> tuple[Camera, ...]:
    for name in devices:
        (folder / name).touch()

    @contextmanager
    def opened(path: Path) -> Iterator[Ask]:
        kernel = devices[path.name]
        if isinstance(kernel, OSError):
            raise kernel
        yield kernel.ask

    return cameras(folder, opened)


def test_a_camera_tells_formats_sizes_and_rates(tmp_path: Path) -> None:
    (camera,) = listed(tmp_path, video0=Kernel())
    assert (camera.name, camera.driver, camera.problem) == ("Integrated Cam.", "uvcvideo", "")
    assert [(one.code, one.name) for one in camera.formats] == [("MJPG", "Motion-JPEG"), ("YUYV", "YUYV 4:2:2")]
    small = Size(480, 640, (Fraction(30), Fraction(30000, 1001), Fraction(15)))
    assert camera.formats[0].sizes == (Size(720, 1280, (Fraction(30),)), small)
    assert camera.formats[1].sizes == (small,)


def test_a_range_of_sizes_is_told_by_its_ends(tmp_path: Path) -> None:
    (camera,) = listed(tmp_path, video0=Kernel(stepwise=True))
    assert camera.formats[0].sizes == (Size(16, 32, (Fraction(90), Fraction(1)), (1944, 2592)),)


def test_what_gives_no_pictures_is_left_out_and_what_is_busy_says_so(tmp_path: Path) -> None:
    found = listed(
        tmp_path,
        video10=Kernel(),
        video2=OSError(errno.EACCES, "Permission denied"),
        video1=Kernel(own=0x04A00000),
        video0=Kernel(capabilities=0x1, own=0),
    )
    assert [Path(camera.device).name for camera in found] == ["video0", "video2", "video10"]
    assert found[1].problem == "Permission denied"


def test_what_is_said_can_be_run() -> None:
    camera = Camera("/dev/video3", "Cam", "uvcvideo", (v4l2.Format("MJPG", "Motion-JPEG", (
        Size(720, 1280, (Fraction(30000, 1001), Fraction(15))), Size(1080, 1920, (Fraction(30),)),
    )),))  # fmt: skip
    said = list(lines([camera, Camera("/dev/video4", problem="Device or resource busy")]))
    assert said[0] == "camera:3  /dev/video3  Cam (uvcvideo)"
    assert said[1] == "    MJPG Motion-JPEG: 1280x720 at 29.97, 15; 1920x1080 at 30"
    uri = parse_source(said[2].split("'")[1])
    assert uri == CameraIn("/dev/video3", (720, 1280), Fraction(30000, 1001))
    assert said[3] == "camera:4  /dev/video4  cannot be asked: Device or resource busy"


def test_the_command_lists_what_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v4l2, "cameras", lambda: ())
    assert status_of(["devices"]) == 0
    assert capsys.readouterr().out.startswith("no cameras: there is no /dev/video*")
    monkeypatch.setattr(v4l2, "cameras", lambda: listed(tmp_path, video0=Kernel()))
    assert status_of(["devices", "--json"]) == 0
    (camera,) = json.loads(capsys.readouterr().out)
    assert camera["formats"][0]["sizes"][0] == {"height": 720, "width": 1280, "to": None, "rates": [30.0]}


def test_a_file_that_is_no_device_cannot_be_asked(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    (camera,) = cameras(tmp_path)
    assert camera.problem
