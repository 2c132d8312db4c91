"""The embedded network: its step against its clip form, its window against the runtime's, its weights on disk."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engines.spec import WindowRule
from engines.window import FeatureWindow
from export.nano.encoder import LITE0, Encoder, imagenet_state, load_imagenet, tap_channels
from export.nano.evaluate import Streaming, prepared
from export.nano.model import SLOTS, WIDTHS, WINDOW, NanoNetwork, clip_windows, load
from export.nano.train import save_average

HEIGHT, WIDTH, FRAMES = 64, 96, 10


@pytest.fixture(scope="module")
def network() -> NanoNetwork:
    """Random weights, with temporal modules that do something."""
    torch.manual_seed(0)
    network = NanoNetwork().eval()
    for module in network.temporal:
        torch.nn.init.normal_(module.temporal_transformer.proj_out.weight, std=0.3)  # type: ignore[union-attr, arg-type]
    return network


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.randint(0, 256, (FRAMES, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


def in_one_go(network: NanoNetwork, clip: Tensor, starts: Tensor) -> Tensor:
    images = torch.cat([prepared(frame, HEIGHT, WIDTH) for frame in clip])[None]
    with torch.no_grad():
        return network.forward_clip(images, starts)[0]


def streamed(network: NanoNetwork, clip: Tensor) -> Tensor:
    stream = Streaming(network, HEIGHT, WIDTH)
    return torch.stack([torch.from_numpy(stream(frame)) for frame in clip])


def test_clip_equals_frame_by_frame(network: NanoNetwork, clip: Tensor) -> None:
    starts = torch.zeros(1, FRAMES, dtype=torch.bool)
    torch.testing.assert_close(in_one_go(network, clip, starts), streamed(network, clip), atol=1e-5, rtol=1e-5)


def test_a_restart_forgets_everything(network: NanoNetwork, clip: Tensor) -> None:
    starts = torch.zeros(1, FRAMES, dtype=torch.bool)
    starts[0, 4] = True
    whole = in_one_go(network, clip, starts)
    torch.testing.assert_close(whole[4:], streamed(network, clip[4:]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(whole[4:], in_one_go(network, clip, starts & False)[4:], atol=1e-4)


def test_the_window_is_finite(network: NanoNetwork, clip: Tensor) -> None:
    """Four attentions, five frames back each: what lies more than twenty frames back changes nothing."""
    changed = clip.clone()
    changed[0] = 255 - changed[0]
    long = torch.cat((clip, clip, clip))
    other = torch.cat((changed, clip, clip))
    last, last_other = streamed(network, long)[-1], streamed(network, other)[-1]
    assert torch.equal(last, last_other)


def test_windows_are_those_of_the_runtime() -> None:
    rule = WindowRule(tuple(range(WINDOW - 1, -1, -1)), young="mask", first_alone=False)
    positions, mask = clip_windows(torch.zeros(1, 20, dtype=torch.bool))
    window = FeatureWindow(rule)
    for t in range(20):
        plan = window.plan()
        used = torch.from_numpy(plan.mask).reshape(-1)
        assert torch.equal(used, mask[0, t])
        chosen = used > 0
        assert torch.equal(torch.from_numpy(plan.positions).reshape(-1)[chosen], positions[0, t][chosen])


def test_untrained_memory_changes_nothing(clip: Tensor) -> None:
    network = NanoNetwork().eval()
    image = prepared(clip[0], HEIGHT, WIDTH)
    with torch.no_grad():
        alone = network.forward_image(image)
    torch.testing.assert_close(alone[0], streamed(network, clip[:1])[0])


def test_shapes_and_sign(network: NanoNetwork) -> None:
    shapes = network.cache_shapes(HEIGHT, WIDTH)
    assert shapes == ((6, 96), (6, 96), (24, 96), (24, 96))
    caches = [torch.randn(2, cells, SLOTS, channels) for cells, channels in shapes]
    ones = torch.ones(2, WINDOW)
    with torch.no_grad():
        depth, *features = network.forward_step(torch.randn(2, 3, HEIGHT, WIDTH), ones.long(), ones, *caches)
    assert depth.shape == (2, HEIGHT, WIDTH)
    assert bool((depth >= 0).all())
    assert [f.shape for f in features] == [(2, cells, channels) for cells, channels in shapes]


@pytest.mark.parametrize("level", [-1e3, 1e3])
def test_no_map_sticks_at_a_floor(network: NanoNetwork, level: float) -> None:
    """However far every channel before the last layer is from zero, it still tells places apart, and still learns."""
    decoder = copy.deepcopy(network.decoder)
    bias = decoder.head.bias
    assert bias is not None
    with torch.no_grad():
        decoder.out.weight.fill_(1e-3)
        bias.fill_(level)
    found = decoder.depth(torch.randn(1, WIDTHS[0], 8, 8, generator=torch.Generator().manual_seed(0)))
    assert float(found.detach().std()) > 0
    found.sum().backward()
    assert bias.grad is not None
    assert float(bias.grad.abs().min()) > 0


def test_size_stays_small(network: NanoNetwork) -> None:
    assert sum(p.numel() for p in network.parameters()) * 2 < 8 * 2**20


def test_weights_survive_the_disk(network: NanoNetwork, clip: Tensor, tmp_path: Path) -> None:
    save_average(network, tmp_path / "w.safetensors")
    assert torch.equal(streamed(load(tmp_path / "w.safetensors"), clip[:2]), streamed(network, clip[:2]))


def test_imagenet_weights_fill_the_encoder() -> None:
    encoder = Encoder(LITE0)
    load_imagenet(encoder, imagenet_state(LITE0))
    with torch.no_grad():
        taps = encoder(torch.randn(1, 3, 64, 64))
    assert [t.shape[1] for t in taps] == list(tap_channels(LITE0))
    assert all(0.05 < float(t.std()) < 20 for t in taps)
