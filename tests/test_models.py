"""The list of models, and the choice of how to run one."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthcast.errors import DepthcastError, ModelError, UsageError
from depthcast.models import MODELS, find
from depthcast.networks import export_to
from depthcast.plan import Engine, Machine, Mode, Precision, Wanted, is_stretched, plan, stored_network
from depthcast.settings import Settings

BARE = Machine(has=lambda _package: False, gpu=lambda: False)
WITH_TORCH = Machine(has=lambda _package: True, gpu=lambda: False)
WITH_GPU = Machine(has=lambda _package: True, gpu=lambda: True)
SMALL = Wanted(find("VDA-Small"))
SIZE = (518, 686)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def put_checkpoint(settings: Settings) -> Path:
    assert SMALL.model.weights is not None
    return put(SMALL.model.weights.path(settings))


def put_network(settings: Settings) -> Path:
    network = stored_network(SMALL, SIZE, settings)
    put(network.with_suffix(".json"))
    return put(network)


@pytest.mark.parametrize(
    ("name", "metric", "label"),
    [
        ("nano", False, "nano"),
        ("vda-small", False, "VDA-Small"),
        ("VDA-Base", True, "VDA-Base-Metric"),
        ("VDA-Large-Metric", False, "VDA-Large-Metric"),
        ("VDA-Large-Metric", True, "VDA-Large-Metric"),
    ],
)
def test_models_are_found_by_name(name: str, metric: bool, label: str) -> None:
    assert find(name, metric).label == label


@pytest.mark.parametrize(
    ("name", "metric", "message"),
    [
        ("VDA-Smal", False, "did you mean VDA-Small"),
        ("midas", False, "known are nano, VDA-Small, VDA-Base, VDA-Large"),
        ("nano", True, "relative depth only"),
    ],
)
def test_unknown_models_fail(name: str, metric: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find(name, metric)


def test_every_official_model_is_licensed_and_located() -> None:
    official = [model for model in MODELS if model.weights]
    assert len(official) == 6
    for model in official:
        assert model.weights is not None
        assert model.commercial == (model.licence == "Apache-2.0") == model.name.endswith("Small")
        assert model.weights.repository.endswith(model.name.removeprefix("VDA-"))
        assert model.weights.file.startswith("metric_") == model.metric


def test_exported_network_runs_without_torch(settings: Settings) -> None:
    network = put_network(settings)
    route = plan(SMALL, 480, 640, settings, BARE)
    assert (route.engine, route.network, route.checkpoint, route.size) == (Engine.ONNX, network, None, SIZE)


def test_checkpoint_is_exported_where_torch_is_there(settings: Settings) -> None:
    checkpoint = put_checkpoint(settings)
    route = plan(SMALL, 480, 640, settings, WITH_TORCH)
    assert route.engine is Engine.ONNX
    assert route.checkpoint == checkpoint
    assert route.network == stored_network(SMALL, SIZE, settings)


def test_torch_runs_when_asked_or_when_it_has_a_gpu(settings: Settings) -> None:
    checkpoint = put_checkpoint(settings)
    put_network(settings)
    asked = Wanted(SMALL.model, engine=Engine.TORCH)
    for route in (plan(asked, 480, 640, settings, WITH_TORCH), plan(SMALL, 480, 640, settings, WITH_GPU)):
        assert (route.engine, route.network, route.checkpoint) == (Engine.TORCH, None, checkpoint)


@pytest.mark.parametrize(
    ("machine", "has_checkpoint", "steps"),
    [
        (BARE, False, r"first `depthcast pull VDA-Small` and `pip install 'depthcast\[export\]'`$"),
        (BARE, True, r"first `pip install 'depthcast\[export\]'`$"),
        (WITH_TORCH, False, r"first `depthcast pull VDA-Small`$"),
    ],
)
def test_what_is_missing_is_named_with_its_command_fails(
    settings: Settings, machine: Machine, has_checkpoint: bool, steps: str
) -> None:
    if has_checkpoint:
        put_checkpoint(settings)
    with pytest.raises(ModelError, match=steps):
        plan(SMALL, 480, 640, settings, machine)
    with pytest.raises(ModelError, match=steps):
        export_to(None, SMALL, SIZE, settings, print, machine)


def test_batch_without_a_file_fails(settings: Settings) -> None:
    put_checkpoint(settings)
    with pytest.raises(UsageError, match="--output"):
        export_to(None, SMALL, SIZE, settings, print, WITH_TORCH, batch=2)


def test_input_size_changes_the_network(settings: Settings) -> None:
    put_checkpoint(settings)
    route = plan(Wanted(SMALL.model, input_size=252), 480, 640, settings, WITH_TORCH)
    assert route.size == (252, 336)
    assert route.network is not None
    assert route.network.name == "VDA-Small-step-252x336.onnx"


@pytest.mark.parametrize(
    ("frame", "network", "stretched"),
    [((480, 640), SIZE, False), ((1080, 1920), (294, 518), False), ((480, 640), (518, 518), True)],
)
def test_stretching_is_told_from_rounding(frame: tuple[int, int], network: tuple[int, int], stretched: bool) -> None:
    assert is_stretched(frame, network) == stretched


def test_networks_are_kept_apart(settings: Settings, tmp_path: Path) -> None:
    own = put(tmp_path / "own.pth")
    wishes = (
        SMALL,
        Wanted(find("VDA-Small", metric=True)),
        Wanted(SMALL.model, Mode.OFFLINE),
        Wanted(SMALL.model, precision=Precision.FP16),
        Wanted(SMALL.model, checkpoint=own),
    )
    assert len({stored_network(wanted, SIZE, settings) for wanted in wishes}) == len(wishes)


@pytest.mark.parametrize(
    ("wanted", "kind", "message"),
    [
        (Wanted(find("nano"), Mode.OFFLINE), UsageError, "streaming network"),
        (Wanted(find("nano"), engine=Engine.TORCH), UsageError, "onnxruntime only"),
        (Wanted(find("nano"), checkpoint=Path("a.pth")), UsageError, "add --model"),
        (Wanted(SMALL.model, checkpoint=Path("absent.pth")), ModelError, "no checkpoint at absent.pth"),
        (Wanted(SMALL.model, engine=Engine.TORCH, checkpoint=Path("a.onnx")), UsageError, "ONNX network"),
        (Wanted(SMALL.model, engine=Engine.TENSORRT), ModelError, "TensorRT"),
        (Wanted(SMALL.model, engine=Engine.TORCH, precision=Precision.FP16), UsageError, "torch runs fp32"),
    ],
)
def test_contradictions_fail(settings: Settings, wanted: Wanted, kind: type[DepthcastError], message: str) -> None:
    with pytest.raises(kind, match=message):
        plan(wanted, 480, 640, settings, WITH_TORCH)


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    assert Settings.from_environment({"XDG_CACHE_HOME": str(tmp_path)}).hub == "https://huggingface.co"
    given = Settings.from_environment({"DEPTHCAST_HOME": str(tmp_path), "DEPTHCAST_HUB": "http://127.0.0.1:1/"})
    assert given == Settings(tmp_path, "http://127.0.0.1:1")


def test_hub_that_is_no_url_fails() -> None:
    with pytest.raises(UsageError, match="DEPTHCAST_HUB"):
        Settings.from_environment({"DEPTHCAST_HUB": "file:///etc"})
