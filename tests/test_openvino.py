"""Exported graphs on OpenVINO: the float32 network exactly, the bfloat16 network within its limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from depthcast.models import PACKAGED_NANO
from engines.errors import EngineError, SpecError, StepError
from engines.onnx import OnnxSession
from engines.openvino import OpenVinoSession, OpenVinoWindowSession
from engines.spec import sha256_of
from engines.window import FeatureWindow
from export.config import CONFIGS
from export.to_onnx import export_step, export_window
from tests.exported import SIZE, UNCHECKED
from tests.standin import TINY, checkpoint, golden, normalised, tiny_checkpoint
from tests.test_network import stream


def test_bfloat16_stream_stays_within_one_percent_of_the_golden(tmp_path: Path) -> None:
    wanted, path = golden("stream_vits_70x98"), tmp_path / "bf16.onnx"
    weights = checkpoint("VDA-Small", tmp_path)
    export_step(CONFIGS["VDA-Small"], weights, path, SIZE, precision="bf16", parity=UNCHECKED)
    graph = onnx.load(path).graph
    assert sum(one.data_type == onnx.TensorProto.BFLOAT16 and len(one.dims) == 2 for one in graph.initializer) == 4 * 12
    with OpenVinoSession(path, threads=2) as session:
        got = stream(session, normalised(wanted["frames"]))
    relative = np.abs(got - wanted["depth"]).mean(axis=(1, 2)) / wanted["depth"].mean(axis=(1, 2))
    assert relative.mean() <= 1e-2
    assert relative.max() <= 1.5e-2


def test_float32_stream_is_that_of_onnxruntime_for_every_batch(tiny_step: Path) -> None:
    images = normalised(golden("stream_vits_70x98")["frames"][:6])
    with OnnxSession(tiny_step) as other, OpenVinoSession(tiny_step, threads=2) as session:
        wanted = stream(other, images)
        np.testing.assert_allclose(stream(session, images), wanted, atol=1e-3)
        cache, windows = session.new_cache(2), (FeatureWindow(session.spec.window), FeatureWindow(session.spec.window))
        for t in range(6):
            cache.image[0], cache.image[1] = images[t], images[max(0, t - 1)]
            maps = session.step(cache, [windows[0].plan(), windows[1].plan() if t else None])
            np.testing.assert_allclose(maps[0], wanted[t], atol=1e-3)
            if t:
                np.testing.assert_allclose(maps[1], wanted[t - 1], atol=1e-3)
        with pytest.raises(ValueError, match="holds 2 streams, got 1 plans"):
            session.step(cache, [None])


def test_two_streams_interleaved_equal_each_alone_bit_for_bit(tiny_step: Path) -> None:
    frames = golden("stream_vits_70x98")["frames"][:6]
    pictures = normalised(frames), normalised(frames[::-1])
    with OpenVinoSession(tiny_step, threads=2) as session:
        alone = [stream(session, images) for images in pictures]
        caches = session.new_cache(), session.new_cache()
        windows = FeatureWindow(session.spec.window), FeatureWindow(session.spec.window)
        for t in range(6):
            for images, cache, window, wanted in zip(pictures, caches, windows, alone, strict=True):
                cache.image[0] = images[t]
                assert np.array_equal(session.step(cache, [window.plan()])[0], wanted[t])


def test_the_packaged_network_of_free_size_is_the_same() -> None:
    size = (96, 128)
    images = np.random.default_rng(0).standard_normal((4, 3, *size)).astype(np.float32)
    with OnnxSession(PACKAGED_NANO, size) as other, OpenVinoSession(PACKAGED_NANO, size, threads=2) as session:
        np.testing.assert_allclose(stream(session, images), stream(other, images), rtol=1e-3, atol=1e-4)


def test_a_window_in_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "window.onnx"
    export_window(TINY, tiny_checkpoint(tmp_path), path, (28, 42), precision="bf16")
    with OpenVinoWindowSession(path, threads=2) as session:
        maps = session.run(np.zeros((session.spec.frames, 3, 28, 42), np.float32))
        assert maps.shape == (session.spec.frames, 28, 42)
        assert np.isfinite(maps).all()
    with pytest.raises(SpecError, match="needs a step graph"):
        OpenVinoSession(path)


def test_a_failing_step_is_one_clear_error(tiny_step: Path) -> None:
    with OpenVinoSession(tiny_step) as session:
        cache, plan = session.new_cache(), FeatureWindow(session.spec.window).plan()
        cache.request.set_tensor("mask", openvino.Tensor(np.zeros((3, cache.memory.mask.shape[1]), np.float32)))
        with pytest.raises(StepError, match="openvino failed in a step of VDA-Tiny"):
            session.step(cache, [plan])


def test_a_file_that_is_no_graph_is_one_clear_error(tiny_step: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    fields = json.loads(tiny_step.with_suffix(".json").read_text())
    fields["onnx_sha256"] = sha256_of(tmp_path / "m.onnx")
    (tmp_path / "m.json").write_text(json.dumps(fields))
    with pytest.raises(EngineError, match=r"openvino cannot load m\.onnx"):
        OpenVinoSession(tmp_path / "m.onnx")


def test_nothing_is_reported_to_anybody() -> None:
    code = "import sys, engines.openvino; assert sys.modules['openvino_telemetry'] is None; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "'openvino'" in done.stdout
    assert "openvino_telemetry." not in done.stdout
