"""The examples do what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples import obstacle
from examples.obstacle import Obstacle
from tests.tiny import make_clip


def ahead(distance_m: float) -> NDArray[np.float32]:
    """A wall, and something close at the side, outside the region."""
    metres = np.full((48, 64), distance_m, np.float32)
    metres[:, :8] = 0.2
    return metres


def test_an_alarm_does_not_chatter() -> None:
    check = Obstacle()
    said = []
    for distance in (3.0, 1.0, 0.9, 0.7, 0.9, 1.1, 1.3, 1.1):
        assert check.look(ahead(distance)) == pytest.approx(distance)
        said.append(check.stops)
    assert said == [False, False, False, True, True, True, False, False]


def test_what_is_not_seen_is_an_alarm() -> None:
    check = Obstacle()
    check.look(ahead(3))
    assert [check.stops] == [False]
    assert np.isnan(check.look(ahead(3), stale=True))
    assert check.stops
    check.look(ahead(3))
    assert np.isnan(check.look(np.full((48, 64), np.nan, np.float32)))
    assert check.stops


def test_one_odd_pixel_is_no_obstacle() -> None:
    check, metres = Obstacle(), ahead(3)
    metres[30, 32] = 0.1
    assert check.look(metres) == 3
    metres[24:34, 30:36] = 0.5
    check.look(metres)
    assert check.stops


def test_the_obstacle_check_runs_on_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = tmp_path / "points.csv"
    points.write_text("x,y,metres\n10,10,4\n50,40,2\n30,20,3\n")
    obstacle.main(str(make_clip(tmp_path / "clip.mkv", frames=3)), str(points))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.endswith(("STOP", "go")) for line in lines)


def test_examples_can_be_read_without_what_they_need() -> None:
    folder = Path(__file__).parent.parent / "examples"
    for path in sorted(folder.glob("*.py")):
        compile(path.read_text(), path, "exec")
    assert "cv2" not in sys.modules
