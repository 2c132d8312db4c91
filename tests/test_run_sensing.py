"""Cameras, units and the outputs for programs through the command line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from depthcast.cli import status_of
from depthcast.commands.pointcloud import counted
from engines.spec import Unit
from stream.raw.codec import RawDepth, decode
from stream.raw.header import Kind
from stream.recorded import read
from tests.tiny import SPEC, make_clip, tiny_network

CALIBRATION = """\
width = 64
height = 48
fx = 60
fy = 60
cx = 31.5
cy = 23.5
distortion = [-0.2, 0.05, 0, 0, 0]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mkv", frames=4)


def network(folder: Path, unit: Unit) -> Path:
    path = tiny_network(folder)
    spec = SPEC.load(path.with_suffix(".json"))
    replace(spec, unit=unit).save(path.with_suffix(".json"))
    return path


def run(folder: Path, *words: str, unit: Unit = Unit.METRE) -> int:
    return status_of(["run", *words, "--checkpoint", str(network(folder, unit)), "--threads", "1"])


def test_a_camera_goes_with_every_recording(tmp_path: Path, clip: Path) -> None:
    calibration = tmp_path / "front.toml"
    calibration.write_text(CALIBRATION)
    outputs = [tmp_path / name for name in ("a.mkv", "a.npz", "%d.png", "x%d.exr", "a.ros2.mcap")]
    words = [word for path in outputs for word in ("-o", str(path))]
    assert run(tmp_path, str(clip), *words, "--camera", str(calibration), "--undistort") == 0
    for path in outputs:
        got = list(read(path))
        assert len(got) == 4
        camera = got[0].intrinsics
        assert camera is not None
        assert (camera.fx, camera.cx, camera.lens) == (60, 31.5, None)
        assert got[0].unit is Unit.METRE


def test_clouds_come_from_a_run_and_from_its_recording(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, later = tmp_path / "live", tmp_path / "later"
    live.mkdir()
    later.mkdir()
    words = ["--camera", "fov=60", "--limits", "0.2:", "--cloud", "edge=90"]
    assert run(tmp_path, str(clip), "-o", str(live / "%d.ply"), "-o", str(tmp_path / "a.npz"), *words) == 0
    capsys.readouterr()
    command = ["pointcloud", str(tmp_path / "a.npz"), "-o", str(later / "%d.ply"), "--picture", str(clip)]
    assert status_of([*command, "--cloud", "edge=90"]) == 0
    assert "4 clouds" in capsys.readouterr().out
    for index in range(4):
        assert (live / f"{index}.ply").read_bytes() == (later / f"{index}.ply").read_bytes()
    organised = ["pointcloud", str(tmp_path / "a.npz"), "-o", str(later / "x%d.pcd"), "--frame", "2"]
    assert status_of([*organised, "--cloud", "every=2"]) == 0
    assert b"WIDTH 32\nHEIGHT 24" in (later / "x0.pcd").read_bytes()
    assert status_of([*organised, "--cloud", "voxel=0.5"]) == 0
    assert b"HEIGHT 1\n" in (later / "x0.pcd").read_bytes()


def test_recordings_and_clouds_are_of_the_kind_that_their_names_say(tmp_path: Path, clip: Path) -> None:
    reader = pytest.importorskip("mcap.reader", reason="needs mcap")
    outputs = [tmp_path / name for name in ("a.mcap", "b.ros2.mcap", "%d.ply", "%d.pcd")]
    words = [word for path in outputs for word in ("-o", str(path))]
    assert run(tmp_path, str(clip), *words, "--camera", "fov=60", "--limits", "0.2:") == 0
    assert (tmp_path / "0.ply").read_bytes().startswith(b"ply\n")
    assert (tmp_path / "0.pcd").read_bytes().startswith(b"# .PCD v0.7")
    kinds = []
    for path in outputs[:2]:
        with path.open("rb") as file:
            kinds.append({schema.name for schema in reader.make_reader(file).get_summary().schemas.values()})
    assert kinds[0] >= {"foxglove.RawImage", "foxglove.CameraCalibration", "foxglove.PointCloud"}
    assert kinds[1] == {"sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/CompressedImage"}


def test_relative_depth_gets_metres_from_known_points(tmp_path: Path, clip: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("x,y,metres\n10,10,4\n50,40,2\n30,20,3\n")
    words = ["-o", str(tmp_path / "a.npz"), "--scale-to", str(points), "--limits", ":50"]
    assert run(tmp_path, str(clip), *words, unit=Unit.RELATIVE) == 0
    got = list(read(tmp_path / "a.npz"))
    assert {one.unit for one in got} == {Unit.METRE}
    assert np.nanmax([one.depth for one in got]) <= 50


def test_the_unit_can_be_chosen(tmp_path: Path, clip: Path) -> None:
    assert run(tmp_path, str(clip), "-o", str(tmp_path / "a.npz"), "--unit", "inverse-metre") == 0
    assert next(read(tmp_path / "a.npz")).unit is Unit.INVERSE_METRE


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def listening(port: int, count: int, heard: list[RawDepth]) -> Callable[[], None]:
    """Begin to listen at the port once it is there; the returned function waits for `count` messages."""

    def listen() -> None:
        waiting = threading.Event()
        for _ in range(400):
            try:
                client = connect(f"ws://127.0.0.1:{port}/raw", max_size=None, compression=None, open_timeout=20)
            except OSError:
                waiting.wait(0.05)
                continue
            with client:
                heard.extend(decode(client.recv(timeout=20, decode=False)) for _ in range(count))
            return

    thread = threading.Thread(target=listen)
    thread.start()
    return thread.join


def test_raw_depth_is_served_while_a_scene_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, heard = free_port(), []  # type: tuple[int, list[RawDepth]]
    wait = listening(port, 5, heard)
    words = ["test:?size=160x120&frames=60&rate=20", "-o", f"ws://@127.0.0.1:{port}/raw?values=float32"]
    assert run(tmp_path, *words, "--camera", "fov=90", "--limits", "0.1:9") == 0
    wait()
    assert len(heard) == 5
    for one in heard:
        assert (one.header.kind, one.header.unit, one.header.limits[1]) == (Kind.FLOAT32, Unit.METRE, 9)
        assert one.header.intrinsics is not None
        assert one.header.intrinsics.fx == pytest.approx(80)
        assert one.values.shape == (120, 160)
    times = [one.header.unix_ns for one in heard]
    assert times == sorted(times)
    assert times[0] > 1.7e18
    assert f"serving ws://@127.0.0.1:{port}/raw" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "unit", "hint"),
    [
        (["-o", "%d.ply"], Unit.METRE, "needs the camera"),
        (["-o", "%d.ply", "--camera", "fov=60"], Unit.RELATIVE, "needs metres"),
        (["-o", "null:", "--unit", "metre"], Unit.RELATIVE, "no scale"),
        (["-o", "null:", "--limits", ":4"], Unit.RELATIVE, "no scale"),
        (["-o", "null:", "--limits", "4:3"], Unit.METRE, "near < far"),
        (["-o", "null:", "--limits", "4"], Unit.METRE, "NEAR:FAR"),
        (["-o", "ws://@:8080/a", "-o", "ws://@:8080/a"], Unit.METRE, "different paths"),
        (["-o", "null:", "--limits", "a:b"], Unit.METRE, "NEAR:FAR"),
        (["-o", "null:", "--cloud", "big"], Unit.METRE, "every=N"),
        (["-o", "null:", "--cloud", "every=x"], Unit.METRE, "every=N"),
        (["-o", "null:", "--undistort"], Unit.METRE, "--camera FILE"),
        (["-o", "null:", "--undistort", "--camera", "fov=60"], Unit.METRE, "--camera FILE"),
        (["-o", "null:", "--camera", "odd.toml"], Unit.METRE, "another shape"),
        (["-o", "null:", "--camera", "fov=wide"], Unit.METRE, "fov=70"),
        (["-o", "null:", "--scale-to", "none.csv"], Unit.RELATIVE, "none.csv"),
        (["-o", "%d.ply", "--cloud", "voxel=-1"], Unit.METRE, "voxel_m > 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path,
    clip: Path,
    words: list[str],
    unit: Unit,
    hint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.toml").write_text(CALIBRATION.replace("64", "99"))
    assert run(tmp_path, str(clip), *words, unit=unit) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert hint in said
    assert "\n" not in said.split("depthcast: ")[-1]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["missing.npz", "-o", "%d.ply"], "no recording"),
        (["a.npz", "-o", "clouds.ply"], "numbered"),
        (["a.npz", "-o", "%d.ply"], "give --camera"),
        (["a.npz", "-o", "%d.ply", "--camera", "fov=60", "--frame", "9"], "has no frame 9"),
    ],
)
def test_clouds_that_cannot_be_are_refused(
    tmp_path: Path,
    clip: Path,
    words: list[str],
    hint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, str(clip), "-o", "a.npz") == 0
    assert status_of(["pointcloud", *words]) in (1, 2)
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([18104], "1 cloud of 18104 points"),
        ([18104, 18104], "2 clouds of 18104 points"),
        ([18302, 18104, 18203], "3 clouds of 18104 to 18302 points"),
        ([0, 5], "2 clouds of 0 to 5 points"),
    ],
)
def test_clouds_are_counted_as_they_are(points: list[int], words: str) -> None:
    assert counted(points) == words


def test_the_count_is_that_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = np.ones((3, 6, 8), np.float32)
    maps[1, :2] = np.nan
    maps[2, 0, 0] = np.inf
    np.savez(
        tmp_path / "a.npz", depths=maps, unit="metre", pts=np.arange(3), time_base=np.array([1, 30]), camera="null"
    )
    (tmp_path / "c").mkdir()
    words = ["pointcloud", str(tmp_path / "a.npz"), "-o", str(tmp_path / "c" / "%d.ply"), "--camera", "fov=60"]
    assert status_of([*words, "--cloud", "edge=90"]) == 0
    assert capsys.readouterr().out.endswith("3 clouds of 32 to 48 points\n")
    heads = [(tmp_path / "c" / f"{n}.ply").read_bytes() for n in range(3)]
    assert [int(head.split(b"element vertex ")[1].split()[0]) for head in heads] == [48, 32, 47]
