"""The list of models, and the choice of how to run one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from depthcast.errors import DepthcastError, ModelError, UsageError
from depthcast.exports import Form, export_to
from depthcast.gpu import Accelerator
from depthcast.models import MODELS, find
from depthcast.plan import Engine, Machine, Mode, Precision, Wanted, plan, stored_network
from depthcast.settings import Settings
from engines.backend import Backend
from engines.errors import EngineUnavailable
from stream.shape import is_stretched
from tests.fake_device import FakeDevice
from tests.tiny import tiny_network


def no_driver() -> Accelerator:
    raise EngineUnavailable("there is no NVIDIA driver here")


def fake_accelerator() -> Accelerator:
    return Accelerator(FakeDevice(), Backend("tensorrt", "11.4.0", None), "made for it")


BARE = Machine(lambda _package: False, lambda: False, no_driver)
WITH_TORCH = Machine(lambda _package: True, lambda: False, no_driver)
WITH_BFLOAT16 = Machine(lambda _package: True, lambda: False, no_driver, lambda: True)
WITH_GPU = Machine(lambda _package: True, lambda: True, no_driver)
WITH_TENSORRT = Machine(lambda _package: True, lambda: True, fake_accelerator)
TENSORRT_ONLY = Machine(lambda _package: False, lambda: False, fake_accelerator)
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


def put_network(settings: Settings, precision: Precision = Precision.AUTO) -> Path:
    network = stored_network(Wanted(SMALL.model, precision=precision), SIZE, settings)
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


@pytest.mark.parametrize("form", [Form(batch=2), Form(batch=None), Form(pixels="uint8"), Form(resized_to=(10, 20))])
def test_a_form_of_ones_own_without_a_file_fails(settings: Settings, form: Form) -> None:
    put_checkpoint(settings)
    with pytest.raises(UsageError, match="--output"):
        export_to(None, SMALL, SIZE, settings, print, WITH_TORCH, form)
    offline = Wanted(SMALL.model, Mode.OFFLINE)
    with pytest.raises(UsageError, match="--mode stream"):
        export_to(Path("window.onnx"), offline, SIZE, settings, print, WITH_TORCH, form)


def test_tensorrt_runs_a_float16_network_where_it_is_there(settings: Settings) -> None:
    checkpoint = put_checkpoint(settings)
    for wanted in (SMALL, Wanted(SMALL.model, engine=Engine.TENSORRT)):
        route = plan(wanted, 480, 640, settings, WITH_TENSORRT)
        assert (route.engine, route.checkpoint, route.precision) == (Engine.TENSORRT, checkpoint, Precision.FP16)
        assert route.network == stored_network(Wanted(SMALL.model, precision=Precision.FP16), SIZE, settings)
        assert (route.engines, route.why_not) == (settings.engines, "")
    stored = put_network(settings, Precision.FP16)
    route = plan(SMALL, 480, 640, settings, TENSORRT_ONLY)
    assert (route.engine, route.network, route.checkpoint) == (Engine.TENSORRT, stored, None)


def test_tensorrt_makes_do_with_a_stored_float32_network(settings: Settings) -> None:
    stored = put_network(settings)
    route = plan(SMALL, 480, 640, settings, TENSORRT_ONLY)
    assert (route.engine, route.network) == (Engine.TENSORRT, stored)
    assert "fp32" in route.why


def test_a_network_given_runs_on_tensorrt(settings: Settings, tmp_path: Path) -> None:
    network = tiny_network(tmp_path)
    wanted = Wanted(find("nano"), checkpoint=network)
    route = plan(wanted, 48, 64, settings, TENSORRT_ONLY)
    assert (route.engine, route.network, route.size) == (Engine.TENSORRT, network, (64, 64))
    assert plan(wanted, 48, 64, settings, BARE).reasons == (
        "the network given; not on tensorrt: there is no NVIDIA driver here"
    )


def test_an_engine_asked_for_is_taken_without_looking_for_a_faster_one(settings: Settings) -> None:
    put_network(settings)
    route = plan(Wanted(SMALL.model, engine=Engine.ONNX), 480, 640, settings, WITH_TENSORRT)
    assert (route.engine, route.why_not, route.accelerator) == (Engine.ONNX, "", None)


def test_why_not_tensorrt_is_told(settings: Settings) -> None:
    put_checkpoint(settings)
    route = plan(SMALL, 480, 640, settings, WITH_TORCH)
    assert route.reasons == (
        "faster than torch on a CPU; not on openvino: it gains nothing on a processor without bfloat16; "
        "not on tensorrt: there is no NVIDIA driver here"
    )


def test_openvino_runs_a_bfloat16_network_where_the_processor_has_it(settings: Settings) -> None:
    checkpoint = put_checkpoint(settings)
    route = plan(SMALL, 480, 640, settings, WITH_BFLOAT16)
    bfloat16 = stored_network(Wanted(SMALL.model, precision=Precision.BF16), SIZE, settings)
    assert (route.engine, route.network, route.checkpoint) == (Engine.OPENVINO, bfloat16, checkpoint)
    assert route.precision is Precision.BF16
    put_network(settings, Precision.BF16)
    assert plan(SMALL, 480, 640, settings, WITH_BFLOAT16).checkpoint is None
    exact = plan(Wanted(SMALL.model, precision=Precision.FP32), 480, 640, settings, WITH_BFLOAT16)
    assert (exact.engine, exact.precision) == (Engine.ONNX, Precision.FP32)


def test_openvino_runs_float32_where_it_is_asked_for(settings: Settings) -> None:
    put_checkpoint(settings)
    asked = Wanted(SMALL.model, engine=Engine.OPENVINO)
    route = plan(asked, 480, 640, settings, WITH_TORCH)
    assert (route.engine, route.precision) == (Engine.OPENVINO, Precision.FP32)
    nano = plan(Wanted(find("nano"), engine=Engine.OPENVINO), 480, 640, settings, WITH_TORCH)
    assert nano.engine is Engine.OPENVINO


def test_openvino_is_passed_over_with_a_reason_and_refused_where_it_was_asked_for(settings: Settings) -> None:
    put_network(settings)
    absent = r"first .*`pip install 'depthcast\[openvino\]'`"
    assert re.search(f"not on openvino: {absent}", plan(SMALL, 480, 640, settings, BARE).why)
    for wanted in (
        Wanted(SMALL.model, engine=Engine.OPENVINO),
        Wanted(SMALL.model, precision=Precision.BF16),
        Wanted(find("nano"), engine=Engine.OPENVINO),
    ):
        with pytest.raises(ModelError, match=absent):
            plan(wanted, 480, 640, settings, BARE)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (WITH_TORCH, "--engine tensorrt cannot run here: there is no NVIDIA driver here"),
        (TENSORRT_ONLY, r"cannot run at 518x686 yet: first `depthcast pull VDA-Small` and `pip install"),
    ],
)
def test_tensorrt_asked_for_and_not_possible_fails(settings: Settings, machine: Machine, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        plan(Wanted(SMALL.model, engine=Engine.TENSORRT), 480, 640, settings, machine)


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
        (Wanted(find("nano"), engine=Engine.TORCH), UsageError, "onnxruntime, OpenVINO and TensorRT"),
        (Wanted(find("nano"), checkpoint=Path("a.pth")), UsageError, "add --model"),
        (Wanted(SMALL.model, checkpoint=Path("absent.pth")), ModelError, "no checkpoint at absent.pth"),
        (Wanted(SMALL.model, engine=Engine.TORCH, checkpoint=Path("a.onnx")), UsageError, "ONNX network"),
        (Wanted(SMALL.model, engine=Engine.TENSORRT), ModelError, "--engine tensorrt cannot run here"),
        (Wanted(SMALL.model, engine=Engine.TORCH, precision=Precision.FP16), UsageError, "torch runs fp32"),
        (Wanted(SMALL.model, engine=Engine.ONNX, precision=Precision.BF16), UsageError, "onnx runs no bf16"),
        (Wanted(SMALL.model, engine=Engine.OPENVINO, precision=Precision.FP16), UsageError, "gains nothing"),
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
