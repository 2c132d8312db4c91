"""The torch network against outputs of the official implementation."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.session import Session
from engines.window import FeatureWindow
from export.config import CONFIGS
from export.describe import vda_spec
from export.graph import VdaStep
from export.model.depth import VideoDepthAnything
from export.model.temporal import TemporalModule
from export.reference import TorchSession
from tests.standin import golden, manifest, network, normalised

MAX_ERROR, MEAN_ERROR = 2e-3, 1e-4


def stream(session: Session, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth of every frame of one stream."""
    window, cache = FeatureWindow(session.spec.window), session.new_cache()
    maps = []
    for image in images:
        cache.image[0] = image
        maps.append(session.step(cache, [window.plan()])[0].copy())
    return np.stack(maps)


def assert_close(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    error = np.abs(got - wanted)
    assert error.max() <= MAX_ERROR
    assert error.mean() <= MEAN_ERROR


def torch_session(model: str, size: tuple[int, int]) -> TorchSession:
    spec = replace(vda_spec(CONFIGS[model], metric=False, size=size, weights_sha256=""), batch=None)
    return TorchSession(VdaStep(network(model), *size), spec)


@functools.cache
def torch_maps(model: str, name: str) -> NDArray[np.float32]:
    """Depth of every frame of a golden's stream, by the torch network; read only."""
    images = normalised(golden(name)["frames"])
    maps = stream(torch_session(model, images.shape[2:]), images)
    maps.setflags(write=False)
    return maps


@pytest.mark.parametrize("model", list(CONFIGS))
def test_names_and_shapes_are_the_official_ones(model: str) -> None:
    with torch.device("meta"):
        state = VideoDepthAnything(CONFIGS[model]).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == manifest(model)


@pytest.mark.parametrize(("model", "name"), [("VDA-Small", "stream_vits_70x98"), ("VDA-Base", "stream_vitb_70x112")])
def test_stream_equals_the_official_code(model: str, name: str) -> None:
    assert_close(torch_maps(model, name), golden(name)["depth"])


def test_window_and_its_inner_tensors_equal_the_official_code() -> None:
    wanted, net = golden("window_vits_84x112"), network("VDA-Small")
    images = torch.from_numpy(normalised(wanted["frames"]))
    seen: dict[str, NDArray[np.float32]] = {}

    def keep_temporal(index: int, module: TemporalModule) -> None:
        plain = module.forward_window

        def observed(x: Tensor) -> Tensor:
            out = plain(x)
            seen[f"temporal_{index}_frame31"] = out[0, 31].numpy()
            return out

        module.forward_window = observed  # type: ignore[method-assign]

    def keep_tokens(_: nn.Module, __: tuple[Tensor, ...], tapped: list[Tensor]) -> None:
        seen.update({f"backbone_{index}_frame0": tokens[0].numpy() for index, tokens in enumerate(tapped)})

    hook = net.pretrained.register_forward_hook(keep_tokens)
    for index, module in enumerate(net.head.temporal):
        keep_temporal(index, module)
    try:
        depth = net.forward_window(images, net.positional_embedding(84, 112)).numpy()
    finally:
        hook.remove()
        for module in net.head.temporal:
            del module.__dict__["forward_window"]
    assert len(seen) == 8
    for name, value in seen.items():
        assert_close(value, wanted[name])
    assert_close(depth, wanted["depth"])


def test_square_input_of_518_uses_the_stored_embedding() -> None:
    net = network("VDA-Small")
    assert net.positional_embedding(518, 518) is net.pretrained.pos_embed
    assert net.positional_embedding(518, 532).shape == (1, 37 * 38 + 1, 384)


def test_a_step_equals_the_window_form_of_its_frames() -> None:
    torch.manual_seed(0)
    module = TemporalModule(64, window=5, heads=4).eval()
    x = torch.randn(1, 5, 64, 3, 2)
    slots = 7
    caches = [torch.zeros(1, 6, slots, 64) for _ in range(2)]
    order = [4, 0, 6, 2]  # any slots, as long as their positions are told
    with torch.inference_mode():
        hidden = hidden_states(module, x)
        for cache, h in zip(caches, hidden, strict=True):
            cache[0][:, order] = h[:, :4]
        positions, mask = torch.zeros(1, slots + 1, dtype=torch.int64), torch.zeros(1, slots + 1)
        for position, slot in enumerate([*order, slots]):
            positions[0, slot], mask[0, slot] = position, 1.0
        y, features = module.step(x[:, 4], caches, positions, mask)
        whole = module.forward_window(x)
    torch.testing.assert_close(y, whole[:, 4], atol=1e-5, rtol=1e-5)
    for feature, h in zip(features, hidden, strict=True):
        torch.testing.assert_close(feature[0], h[:, 4], atol=1e-5, rtol=1e-5)


def hidden_states(module: TemporalModule, x: Tensor) -> list[Tensor]:
    """[P, T, C] normed hidden states before each attention, in the window form."""
    inner, hidden = module.temporal_transformer, []
    cells = inner.proj_in(inner.norm(x.flatten(0, 1)).flatten(2).transpose(1, 2)).transpose(0, 1)
    for attention, norm in zip(inner.block.attention_blocks, inner.block.norms, strict=True):
        hidden.append(norm(cells))
        cells = cells + attention.forward_window(hidden[-1])  # type: ignore[operator]
    return hidden


def test_rows_of_a_batch_are_streams_of_their_own() -> None:
    images = normalised(golden("stream_vits_70x98")["frames"][:6])
    session, alone = torch_session("VDA-Small", (70, 98)), torch_maps("VDA-Small", "stream_vits_70x98")
    cache, early, late = session.new_cache(2), *(FeatureWindow(session.spec.window) for _ in range(2))
    for t in range(6):
        cache.image[0] = images[t]
        plan = None
        if t >= 2:  # the second stream joins two frames later
            cache.image[1], plan = images[t - 2], late.plan()
        maps = session.step(cache, [early.plan(), plan])
        np.testing.assert_allclose(maps[0], alone[t], atol=1e-4)
        if plan is not None:
            np.testing.assert_allclose(maps[1], alone[t - 2], atol=1e-4)


def test_a_wrong_number_of_plans_is_the_callers_error() -> None:
    session = torch_session("VDA-Small", (28, 28))
    with pytest.raises(ValueError, match="2 streams, got 1 plans"):
        session.step(session.new_cache(2), [None])
