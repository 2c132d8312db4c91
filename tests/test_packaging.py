"""`pip install .` without extras: everything that running needs is in it, and nothing that only exporting needs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from depthcast.models import PACKAGED_NANO
from tests.tiny import make_clip

ROOT = Path(__file__).parent.parent
FOREIGN = ("torch", "openvino", "tensorrt", "onnx", "onnxscript", "safetensors", "pytest")


def command(*words: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    finished = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    command(*pip, "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return folder / "bin"


@pytest.mark.slow
def test_wheel_holds_weights_licences_and_all_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        licences = {Path(name).name for name in names if "/licenses/" in name}
    assert {"LICENSE", "NOTICE"} <= licences
    for path in (PACKAGED_NANO, PACKAGED_NANO.with_suffix(".json"), *(ROOT / "depthcast" / "web").iterdir()):
        assert path.relative_to(ROOT).as_posix() in names
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"depthcast", "engines", "export", "stream"}
    assert wheel.stat().st_size < 16e6


@pytest.mark.slow
def test_bare_installation_runs_the_packaged_model(bare: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=6, height=90, width=120)
    said = command(bare / "depthcast", "run", clip, "-o", tmp_path / "depth.mp4", "--raw", "raw.npz", cwd=tmp_path)
    assert "6 frames" in said
    assert (tmp_path / "depth.mp4").stat().st_size
    find = f"import importlib.util as u; print([p for p in {FOREIGN!r} if u.find_spec(p)])"
    assert command(bare / "python", "-c", find, cwd=tmp_path).strip() == "[]"


@pytest.mark.slow
def test_bare_installation_has_the_python_functions(bare: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    use = f"import depthcast; print([d.depth.shape for d in depthcast.estimate({str(clip)!r})])"
    assert command(bare / "python", "-W", "error", "-c", use, cwd=tmp_path).strip() == str([(48, 64)] * 3)


def test_constraints_pin_every_package_installed_here() -> None:
    """The ones that depthcast, its extras and its tools ask for, and what those ask for in turn."""
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for asked in [*project["dependencies"], *extras["export"], *extras["dev"], *extras["bench"]]:
        name = asked.partition(">")[0]
        assert version(name).partition("+")[0] == pinned[name], f"{name}: run `make test` with a fresh .venv"
