"""Exported graphs on ONNX Runtime against the torch oracle and the goldens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import export.to_onnx
from engines.errors import EngineError, SpecError, StepError
from engines.onnx import OnnxSession, OnnxWindowSession, load_graph, load_spec
from engines.spec import ModelSpec, Precision, Unit, sha256_of
from engines.tensorrt import TensorRtSession
from engines.window import FeatureWindow
from export.config import CONFIGS
from export.errors import ParityError
from export.reference import TorchSession
from export.to_onnx import Parity, export_step, export_window
from stream.offline import offline
from stream.preprocess import resize_map
from tests.exported import SIZE, UNCHECKED
from tests.fake_device import FakeDevice
from tests.fakes import frame
from tests.graph_network import GraphNetwork
from tests.standin import TINY, checkpoint, golden, normalised, tiny_checkpoint
from tests.test_network import assert_close, stream, torch_maps
from tests.tiny import tiny_network


def oracle_of_tiny(folder: Path) -> TorchSession:
    return TorchSession.open(TINY, tiny_checkpoint(folder), SIZE)


def test_stream_equals_golden_and_oracle_over_60_frames(small_step: Path) -> None:
    wanted = golden("stream_vits_70x98")
    with OnnxSession(small_step, threads=2) as session:
        got = stream(session, normalised(wanted["frames"]))
    assert len(got) == 60
    assert_close(got, wanted["depth"])
    np.testing.assert_allclose(got, torch_maps("VDA-Small", "stream_vits_70x98"), atol=1e-3)


@pytest.mark.slow
def test_base_streams_as_the_golden(tmp_path: Path) -> None:
    wanted, path = golden("stream_vitb_70x112"), tmp_path / "base.onnx"
    export_step(CONFIGS["VDA-Base"], checkpoint("VDA-Base", tmp_path), path, (70, 112), parity=UNCHECKED)
    with OnnxSession(path, threads=2) as session:
        assert_close(stream(session, normalised(wanted["frames"])), wanted["depth"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_offline_is_the_golden(tmp_path: Path, precision: Precision) -> None:
    path, weights = tmp_path / "window.onnx", checkpoint("VDA-Small", tmp_path)
    plain = export_window(CONFIGS["VDA-Small"], weights, path, SIZE, precision=precision, parity=UNCHECKED)
    # The stand-ins of both have the same weights, so their graphs differ in the spec alone.
    for name, unit in (("offline_vits_70x98", Unit.RELATIVE), ("offline_metric_vits_70x98", Unit.METRE)):
        wanted = golden(name)
        frames = [frame(image, number) for number, image in enumerate(wanted["frames"])]
        replace(plain, unit=unit).save(path.with_suffix(".json"))
        with OnnxWindowSession(path, threads=2) as session:
            got = np.stack([one.depth for one in offline(frames, session)])
        if precision == "fp32":
            assert_close(got, wanted["depth"])
        else:
            assert np.abs(got - wanted["depth"]).mean() <= 1e-2 * wanted["depth"].mean()


def test_two_streams_interleaved_on_one_session_equal_each_alone_bit_for_bit(tiny_step: Path) -> None:
    frames = golden("stream_vits_70x98")["frames"][:10]
    first, second = normalised(frames), normalised(frames[::-1])
    with OnnxSession(tiny_step, threads=2) as session:
        alone = stream(session, first), stream(session, second)
        caches = session.new_cache(), session.new_cache()
        windows = FeatureWindow(session.spec.window), FeatureWindow(session.spec.window)
        for t in range(10):
            for images, cache, window, wanted in zip((first, second), caches, windows, alone, strict=True):
                cache.image[0] = images[t]
                assert np.array_equal(session.step(cache, [window.plan()])[0], wanted[t])


def test_a_batch_of_two_streams_equals_each_alone(tiny_step: Path) -> None:
    images = normalised(golden("stream_vits_70x98")["frames"][:6])
    with OnnxSession(tiny_step) as session:
        alone = stream(session, images)
        cache = session.new_cache(2)
        windows = FeatureWindow(session.spec.window), FeatureWindow(session.spec.window)
        for t in range(6):
            cache.image[0], cache.image[1] = images[t], images[max(0, t - 1)]
            maps = session.step(cache, [windows[0].plan(), windows[1].plan() if t else None])
            np.testing.assert_allclose(maps[0], alone[t], atol=1e-3)
            if t:
                np.testing.assert_allclose(maps[1], alone[t - 1], atol=1e-3)


def test_one_slot_a_frame_is_written_and_nothing_moves(tiny_step: Path) -> None:
    images = normalised(golden("stream_vits_70x98")["frames"][:3])
    with OnnxSession(tiny_step) as session:
        cache, window = session.new_cache(), FeatureWindow(session.spec.window)
        addresses = [array.ctypes.data for array in cache.memory.caches]
        for t, image in enumerate(images):
            before = [array.copy() for array in cache.memory.caches]
            cache.image[0] = image
            session.step(cache, [window.plan()])
            if t:
                for old, array in zip(before, cache.memory.caches, strict=True):
                    changed = {int(slot) for slot in np.nonzero((old != array).any(axis=(0, 1, 3)))[0]}
                    assert changed == {t}
        assert [array.ctypes.data for array in cache.memory.caches] == addresses


def test_float16_stream_stays_within_one_percent_of_the_golden(small_half_step: Path) -> None:
    wanted = golden("stream_vits_70x98")
    kinds = {value.name: value.type.tensor_type.elem_type for value in onnx.load(small_half_step).graph.input}
    with OnnxSession(small_half_step, threads=2) as session:
        assert {kinds[cache.name] for cache in session.spec.caches} == {onnx.TensorProto.FLOAT16}
        got = stream(session, normalised(wanted["frames"]))
    relative = np.abs(got - wanted["depth"]).mean(axis=(1, 2)) / wanted["depth"].mean(axis=(1, 2))
    assert relative.max() <= 1e-2


def test_bytes_in_and_a_resized_map_out_are_the_same_function(tmp_path: Path) -> None:
    frames, path, weights = golden("stream_vits_70x98")["frames"][:4], tmp_path / "b.onnx", tiny_checkpoint(tmp_path)
    spec = export_step(TINY, weights, path, SIZE, pixels="uint8", resized_to=(105, 147), parity=UNCHECKED)
    assert spec.map_size == (105, 147)
    with OnnxSession(path) as session:
        cache, window = session.new_cache(), FeatureWindow(session.spec.window)
        wanted = stream(oracle_of_tiny(tmp_path), normalised(frames))
        for frame, depth in zip(frames, wanted, strict=True):
            cache.image[0] = frame
            got = session.step(cache, [window.plan()])[0]
            np.testing.assert_allclose(got, resize_map(depth, 105, 147), atol=1e-3)
        with pytest.raises(SpecError, match="exported for 1 streams a call, 2 are needed"):
            session.new_cache(2)


def test_an_export_that_departs_is_not_written(
    tiny_step: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.to_onnx, "trace", lambda *_: onnx.load(tiny_step))
    strict = Parity(frames=2, limit=1e-9)
    with pytest.raises(ParityError, match="departs from the torch oracle"):
        export_step(TINY, tiny_checkpoint(tmp_path), tmp_path / "step.onnx", SIZE, parity=strict)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_window_graph_equals_the_golden(tmp_path: Path) -> None:
    wanted = golden("window_vits_84x112")
    path = tmp_path / "window.onnx"
    export_window(CONFIGS["VDA-Small"], checkpoint("VDA-Small", tmp_path), path, (84, 112), parity=UNCHECKED)
    with OnnxWindowSession(path, threads=2) as session:
        assert_close(session.run(normalised(wanted["frames"])), wanted["depth"])
    with pytest.raises(SpecError, match="needs a step graph"):
        OnnxSession(path)


def test_the_graph_needs_no_shape_arithmetic(small_step: Path) -> None:
    graph = onnx.load(small_step).graph
    arithmetic = {"Shape", "Size", "Range", "NonZero", "If", "Loop", "ConstantOfShape"}
    assert arithmetic.isdisjoint(node.op_type for node in graph.node)
    assert all(dim.dim_value for value in graph.input for dim in value.type.tensor_type.shape.dim)


def test_a_graph_names_no_file_of_the_machine_that_exported_it(tiny_step: Path) -> None:
    assert str(Path(export.__file__).parent).encode() not in tiny_step.read_bytes()


def test_a_failing_step_is_one_clear_error(tiny_step: Path) -> None:
    with OnnxSession(tiny_step) as session:
        cache, plan = session.new_cache(), FeatureWindow(session.spec.window).plan()
        plan.positions[-1] = 10_000  # beyond the positional table
        with pytest.raises(StepError, match="onnxruntime failed in a step of VDA-Tiny"):
            session.step(cache, [plan])


def test_another_size_than_exported_says_what_to_run(tiny_step: Path) -> None:
    with pytest.raises(SpecError, match=r"exported for 70x98, the stream needs 84x112: run `depthcast export"):
        OnnxSession(tiny_step, size=(84, 112))


def test_a_model_without_its_spec_is_refused(tiny_step: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_step.read_bytes())
    with pytest.raises(SpecError, match=r"m\.json is missing"):
        OnnxSession(tmp_path / "m.onnx")


def test_a_changed_model_is_refused(tiny_step: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_step.read_bytes()[:-1])
    (tmp_path / "m.json").write_bytes(tiny_step.with_suffix(".json").read_bytes())
    with pytest.raises(SpecError, match="not the file its spec was written for"):
        OnnxSession(tmp_path / "m.onnx")


def test_a_file_that_is_no_graph_is_one_clear_error(tiny_step: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    fields = json.loads(tiny_step.with_suffix(".json").read_text())
    fields["onnx_sha256"] = sha256_of(tmp_path / "m.onnx")
    (tmp_path / "m.json").write_text(json.dumps(fields))
    with pytest.raises(EngineError, match=r"cannot load m\.onnx"):
        OnnxSession(tmp_path / "m.onnx")


def test_spec_survives_a_round_trip(tiny_step: Path, tmp_path: Path) -> None:
    spec = ModelSpec.load(tiny_step.with_suffix(".json"))
    spec.save(tmp_path / "again.json")
    assert ModelSpec.load(tmp_path / "again.json") == spec
    assert spec.window.slots == 42
    assert [cache.cells(70, 98) for cache in spec.caches] == [35, 35, 12, 12, 35, 35, 140, 140]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kind": "film"}, "'film' is none of"), ({"format": 9}, "format 9"), ({"unit": "feet"}, "feet"), ({"x": 1}, "x")],
)
def test_a_malformed_spec_says_where(tiny_step: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    fields = json.loads(tiny_step.with_suffix(".json").read_text()) | change
    (tmp_path / "s.json").write_text(json.dumps(fields))
    with pytest.raises(SpecError, match=message):
        ModelSpec.load(tmp_path / "s.json")


def test_the_golden_passes_through_caches_that_stay_on_a_device_with_two_frames_in_flight(small_step: Path) -> None:
    wanted, device = golden("stream_vits_70x98"), FakeDevice(seed=1)
    images, network = normalised(wanted["frames"]), GraphNetwork(small_step, device)
    maps = []
    with TensorRtSession(network, ModelSpec.load(small_step.with_suffix(".json")), device) as session:
        window, cache = FeatureWindow(session.spec.window), session.new_cache()
        for image in images:
            cache.image[0] = image
            session.submit(cache, [window.plan()])
            if len(cache.in_flight) == 2:
                maps.append(session.collect(cache)[0].copy())
        maps.append(session.collect(cache)[0].copy())
    assert_close(np.stack(maps), wanted["depth"])


def test_threads_that_wait_for_the_next_step_take_no_core(tmp_path: Path) -> None:
    path = tiny_network(tmp_path)
    graph = load_graph(path, load_spec(path, (64, 64)), 2)
    assert graph.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
