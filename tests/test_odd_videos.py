"""Whatever is sent: depth comes of it, or a sentence says why not. Nothing else, and nothing of this machine in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthcast.job import Job, prepared
from depthcast.models import NANO, find
from depthcast.outputs import Look
from depthcast.plan import Wanted
from depthcast.service.probe import ProbeError, ProbeLimits, probe
from depthcast.settings import Settings
from engines.errors import EngineError
from stream.colour import Colormap
from stream.errors import StreamError
from stream.uris import FileIn, FileOut
from tests.odd_videos import EITHER, REFUSED, TAKEN, damaged
from tests.tiny import make_clip, tiny_network

LIMITS = ProbeLimits()


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service works on a video where it lies, so that no message says where that is."""
    monkeypatch.chdir(tmp_path)


def assert_is_a_sentence(said: str, folder: Path) -> None:
    assert "\n" not in said
    assert 20 < len(said) < 300
    assert str(folder) not in said
    assert "rrno" not in said
    assert "Unknown" not in said


def depth_of(path: Path, folder: Path) -> int:
    """Probe a file as the service does and make depth of it; how many frames it had."""
    path = path.relative_to(folder)
    probe(path, LIMITS)
    outputs = Path("depth.mp4"), Path("raw.npz")
    job = Job(
        source=FileIn(path),
        outputs=tuple(map(FileOut, outputs)),
        wanted=Wanted(find(NANO), checkpoint=tiny_network(folder), threads=1),
        look=Look(Colormap.TURBO),
        max_frames=60,
    )
    with prepared(job, Settings(folder / "home"), lambda _said: None) as ready:
        done = ready.run()
    assert all(output.stat().st_size for output in outputs)
    return done.stats.frames_out


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_fit_video_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ProbeError) as refused:
        probe(REFUSED[name](tmp_path), LIMITS)
    assert_is_a_sentence(str(refused.value), tmp_path)


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_read_is_taken(name: str, tmp_path: Path) -> None:
    assert depth_of(TAKEN[name](tmp_path), tmp_path) >= 1


def assert_is_taken_or_refused(path: Path, folder: Path) -> None:
    try:
        assert depth_of(path, folder) >= 1
    except (ProbeError, StreamError, EngineError) as error:
        assert_is_a_sentence(str(error), folder)


@pytest.mark.parametrize("name", EITHER)
def test_what_depends_is_taken_or_refused(name: str, tmp_path: Path) -> None:
    assert_is_taken_or_refused(EITHER[name](tmp_path), tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_damaged_is_taken_or_refused(suffix: str, seed: int, tmp_path: Path) -> None:
    assert_is_taken_or_refused(damaged(tmp_path, suffix, seed), tmp_path)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ProbeLimits(max_pixels=48 * 63), r"has 64x48 pixels a frame; at most 0 million"),
        (ProbeLimits(max_side=63), "and 63 a side"),
        (ProbeLimits(max_frames=11), "has 12 frames; at most 11"),
        (ProbeLimits(max_rate=23), "has 24 frames a second; at most 23"),
        (ProbeLimits(max_duration_s=0.4), "s long; at most 0 s"),
    ],
)
def test_what_is_too_much_is_said(limits: ProbeLimits, words: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", 12)
    with pytest.raises(ProbeError, match=words):
        probe(clip, limits)
    assert probe(clip, LIMITS).frames == 12


def test_what_is_not_asked_for_does_not_count(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", 12)
    assert probe(clip, ProbeLimits(max_frames=5, max_duration_s=0.3), wanted_frames=5).frames == 5
