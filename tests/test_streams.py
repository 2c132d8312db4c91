"""Streams in a TOML file: what is understood, and what is said of every mistake."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from depthcast.errors import UsageError
from depthcast.plan import Engine
from depthcast.publicurl import PublicUrl
from depthcast.streams import OPTIONS, read_streams
from engines.spec import Unit
from stream.camera import Camera
from stream.colour import Colormap
from stream.metric import Limits
from stream.sinks.file import Resolution
from stream.uris import FileOut, NullOut, RtspIn, RtspServe, TestIn


def written(folder: Path, text: str) -> Path:
    path = folder / "streams.toml"
    path.write_text(text)
    return path


def test_streams_take_options_from_the_top_and_their_own(tmp_path: Path) -> None:
    asked = read_streams(
        written(
            tmp_path,
            f"""
            colormap = "turbo"
            public-url = "https://lab.example:443/depth/"
            engine = "onnx"
            threads = 2

            [stream.door]
            source = "rtsp://ann:secret@192.0.2.1/stream1"
            output = ["rtsp://@:8554/door", "{tmp_path}/door.mkv"]
            colormap = "inferno"
            output-fps = 12.5

            [stream.scene-1]
            """
            + 'source = "test:"\noutput = "null:"\nscene-cut = false\nmax-frames = 3\nresolution = "360p"\n',
        )
    )
    door, scene = asked.jobs
    assert asked.public_url == PublicUrl("https://lab.example", "lab.example", "/depth")
    assert (door.name, scene.name) == ("door", "scene-1")
    assert isinstance(door.job.source, RtspIn)
    assert door.job.outputs == (RtspServe("", 8554, "/door"), FileOut(tmp_path / "door.mkv"))
    assert (door.job.look.colormap, scene.job.look.colormap) == (Colormap.INFERNO, Colormap.TURBO)
    assert door.job.output_fps == Fraction(25, 2)
    assert {one.job.wanted.engine for one in (door, scene)} == {Engine.ONNX}
    assert {one.job.wanted.threads for one in (door, scene)} == {2}
    assert scene.job.source == TestIn()
    assert scene.job.outputs == (NullOut(),)
    assert (scene.job.scene_cut, scene.job.max_frames, scene.job.look.resolution) == (False, 3, Resolution.P360)


def test_streams_have_cameras_and_limits(tmp_path: Path) -> None:
    text = GOOD + 'camera = "fov=90"\nunit = "metre"\nlimits = ":9"\ncloud = "every=3"\nscale-to = "a.csv"\n'
    (one,) = read_streams(written(tmp_path, text)).jobs
    sensing = one.job.sensing
    assert sensing.camera == Camera(fov_degrees=90)
    assert (sensing.unit, sensing.limits, sensing.cloud.every) == (Unit.METRE, Limits(0, 9), 3)
    assert (sensing.scale_to, sensing.undistort) == (Path("a.csv"), False)


GOOD = '[stream.a]\nsource = "test:"\noutput = "null:"\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", None, r"names no streams: write \[stream.NAME\]"),
        ("stream = 3", None, r"names no streams: write \[stream.NAME\]"),
        ("[stream.a\n", None, r"is not TOML: .*line 1"),
        ('[stream.a]\noutput = "null:"\n', 1, r"stream.a: there is no source: write source = …"),
        ('\n[stream.a]\nsource = "test:"\n', 2, r"stream.a: there is no output"),
        (GOOD + 'colour = "turbo"\n', 4, r"stream.a.colour: unknown here: the options are source, output, model"),
        (GOOD + 'colormap = "pink"\n', 4, r"stream.a.colormap: got 'pink', write one of 'grayscale', 'turbo'"),
        (GOOD + "threads = 0\n", 4, r"stream.a.threads: got 0, write a whole number from 1"),
        (GOOD + "input-size = true\n", 4, r"input-size: got True, write a whole number from 14 to 4096"),
        (GOOD + "output-fps = -1\n", 4, r"output-fps: got -1, write frames per second above zero"),
        (GOOD + 'camera = "fov=0"\n', 4, r"stream.a.camera: got 'fov=0', write fov is 1 to 179 degrees"),
        (GOOD + 'limits = "4"\n', 4, r"stream.a.limits: got '4', write limits are NEAR:FAR"),
        (GOOD + 'unit = "foot"\n', 4, r"stream.a.unit: got 'foot', write one of 'metre', 'inverse-metre'"),
        (GOOD + 'side-by-side = "yes"\n', 4, r"stream.a.side-by-side: got 'yes', write true or false"),
        (GOOD + "side-by-side = true\n", 3, r"stream.a.output: --side-by-side makes a video"),
        ("engine = 7\n" + GOOD, 1, r"streams.toml, line 1: engine: got 7, write one of 'auto', 'onnx'"),
        ('mode = "offline"\n' + GOOD, 1, r"mode: unknown here"),
        ('model = "nan"\n' + GOOD, 1, r"line 1: model: unknown model 'nan': did you mean nano"),
        ('[door]\nsource = "test:"\n' + GOOD, 1, r"door: unknown here: write \[stream.door\]"),
        ('[stream.a]\nsource = "ftp://h/x"\noutput = "null:"\n', 2, r"stream.a.source: cannot read from"),
        ('[stream.a]\nsource = "test:"\noutput = ["null:", "x.avi"]\n', 3, r"stream.a.output: the output's suffix"),
        ('[stream.a]\nsource = "test:"\noutput = []\n', 3, r"output: got \[\], write one output or several"),
        (GOOD.replace("[stream.a]", '[stream."a b"]'), 1, r"a name is up to 64 letters"),
        (
            '[stream.a]\nsource = "test:"\noutput = "rtsp://@:8554/a"\n\n'
            '[stream.b] # the other\nsource = "test:"\noutput = "rtsp://@:8554/b"\n',
            7,
            r"stream.b.output: port 8554 is stream.a's already: choose another",
        ),
        (
            '[stream.a]\nsource = "test:"\noutput = "ws://@:80/r"\n[stream.b]\nsource = "test:"\noutput = "ws://@:80/r"\n',
            6,
            r"stream.b.output: ws://@:80/r is stream.a's already",
        ),
        (
            '[stream.a]\nsource = "test:"\noutput = "a.mkv"\n[stream.b]\nsource = "test:"\noutput = "./a.mkv"\n',
            6,
            r"stream.b.output: a.mkv is stream.a's already",
        ),
    ],
)
def test_every_mistake_names_its_place_and_what_to_write(
    tmp_path: Path, text: str, line: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said) as refused:
        read_streams(written(tmp_path, text))
    assert line is None or f"streams.toml, line {line}: " in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none.toml: No such file"):
        read_streams(tmp_path / "none.toml")


def test_the_readme_names_every_option() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    section = readme.partition("### Many streams")[2].partition("###")[0]
    assert not [name for name in ("source", "output", *OPTIONS) if f"`{name}`" not in section]
