"""Train the embedded network in two stages, so that it can be stopped and continued at any step.

Stage `image`: single frames, memory off. Stage `clip`: clips through the cached window exactly as deployed.
Files in the run folder: `state.pt` (everything needed to go on), `ema.safetensors` (averaged weights, the result),
`log.jsonl` (losses and validation).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.nano.data import SIZES, Batch, Mixture, Pool, RealFrames, RenderedPool, Several, Source, batches
from export.nano.encoder import imagenet_state, load_imagenet
from export.nano.evaluate import TRAIN_LAST, evaluate
from export.nano.live import LivePool
from export.nano.losses import LossWeights, depth_loss
from export.nano.meshes.pool import MeshPool, RenderPlan
from export.nano.model import NanoNetwork
from export.nano.packaged import packaged_network
from export.nano.shards import FRAMES, ShardPlan, load_photos

WARM_UP = 200
LIVE_CLIPS = 8
"""Clips rendered between two hand-overs."""
LIVE_SEED = 100_000_000
"""First seed of live rendering: far from those of shards and of validation."""
FALL = 0.3
"""Share of the steps over which the rate falls."""
TEMPORAL_WEIGHT = 4.0
TABLE_TOPS = {"pcl_mosd_tabletop": 0.35, "fchen_boxes_realsense": 0.05}
"""Weights of further real pictures beside TUM's."""
AVERAGE = 0.998
"""Decay of the averaged weights per step."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One stage of training."""

    run: Path
    rendered: Path
    real: Path | None
    stage: Literal["image", "clip"]
    steps: int
    size: int
    frames: int
    real_share: float
    cut: float
    area: str
    rate: float
    seed: int
    packaged: Path | None
    from_scratch: bool
    save_every: int
    validate_every: int
    memory_only: bool
    render: bool
    render_size: tuple[int, int]
    workers: int
    meshes: Path | None
    mesh_size: tuple[int, int]
    primitives: float
    uses: int
    frozen: int


class Trainer:
    """Network, averaged network, optimiser and step count."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        torch.manual_seed(settings.seed)
        self.network = NanoNetwork()
        self.average = NanoNetwork()
        self.step = 0
        for network in (self.network, self.average):
            network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average.requires_grad_(False)
        if settings.memory_only:
            # The decoder keeps its gradients, unused: torch 2.13 crashes in the backward pass of convolutions without.
            self.network.encoder.requires_grad_(False)
        if settings.frozen:
            self.network.encoder.stem.requires_grad_(False)
            for block in self.network.encoder.blocks[: settings.frozen]:
                block.requires_grad_(False)
        self.optimiser = _optimiser(self.network, settings)

    @property
    def state_path(self) -> Path:
        """Where this run's state is kept."""
        return self.settings.run / "state.pt"

    def begin(self) -> None:
        """Continue where the run folder left off, or start from the packaged weights or ImageNet's."""
        if not self.state_path.exists():
            if self.settings.packaged is not None:
                self.network.load_state_dict(packaged_network(self.settings.packaged).state_dict())
            elif not self.settings.from_scratch:
                load_imagenet(self.network.encoder, imagenet_state())
            self.average.load_state_dict(self.network.state_dict())
            return
        state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        if state["stage"] == self.settings.stage:
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])

    def save(self) -> None:
        """Write state and averaged weights, each in one move."""
        state = {
            "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "step": self.step, "stage": self.settings.stage,
        }  # fmt: skip
        partial = self.state_path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.state_path)
        save_average(self.average, self.settings.run / "ema.safetensors")

    def update(self, batch: Batch) -> float:
        """One step; returns the loss."""
        for group, base in zip(self.optimiser.param_groups, _rates(self.settings), strict=True):
            group["lr"] = base * schedule(self.step, self.settings.steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            predicted = self._forward(batch)
        loss = depth_loss(_grouped(predicted.float(), batch.group), self._target(batch), self._weights())
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in self.optimiser.param_groups for p in group["params"]], 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        return float(loss.detach())

    def _forward(self, batch: Batch) -> Tensor:
        images = batch.images.to(self.device)
        if self.settings.stage == "clip":
            return self.network.forward_clip(images, batch.starts.to(self.device))
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        depth = self.network.forward_image(flat)
        return depth.reshape(*images.shape[:2], *depth.shape[1:])

    def _target(self, batch: Batch) -> Tensor:
        return _grouped(batch.inverse.to(self.device), batch.group)

    def _weights(self) -> LossWeights:
        return LossWeights(temporal=TEMPORAL_WEIGHT if self.settings.stage == "clip" else 0.0)


def _grouped(x: Tensor, group: int) -> Tensor:
    """[B, T, H, W] to [B·T/group, group, H, W]."""
    return x.reshape(-1, group, *x.shape[2:])


def _rates(settings: Settings) -> tuple[float, ...]:
    return (settings.rate,) if settings.memory_only else (settings.rate * 0.4, settings.rate)


def _optimiser(network: NanoNetwork, settings: Settings) -> torch.optim.AdamW:
    if settings.memory_only:
        return torch.optim.AdamW(network.temporal.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)
    slow, fast = _rates(settings)
    encoder = list(network.encoder.parameters())
    rest = [*network.decoder.parameters(), *network.temporal.parameters()]
    groups = [{"params": encoder, "lr": slow}, {"params": rest, "lr": fast}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)


def schedule(step: int, steps: int) -> float:
    """Share of the full rate: a short rise, a plain, and over the last part half a cosine down to 2 %.

    The plain lets a run that is stopped and continued be told anew how many steps it has.
    """
    rise = min(1.0, (step + 1) / max(1, min(WARM_UP, steps // 10)))
    fallen = max(0.0, step / steps - (1 - FALL)) / FALL
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, fallen))))


def save_average(network: NanoNetwork, path: Path) -> None:
    """The weights as safetensors."""
    partial = path.with_suffix(".part")
    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, partial)
    partial.replace(path)


def train(settings: Settings, device: torch.device, stopping: Callable[[], bool] = lambda: False) -> None:
    """Run the stage to its last step, from wherever the run folder stands, or until `stopping`, saving then too."""
    settings.run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings, device)
    trainer.begin()
    with ExitStack() as stack:
        _run(trainer, _pool(settings, device, stack), stopping)


def _pool(settings: Settings, device: torch.device, stack: ExitStack) -> Pool:
    """Where rendered pictures come from; what renders ends with `stack`."""
    (settings.run / "pids").write_text(f"{os.getpid()}\n")
    if settings.meshes is not None:
        photographs = settings.real / "tum_fr1_rpy" / "rgb" if settings.real else None
        seed = settings.seed * 1_000_003 + int(time.time())
        plan = RenderPlan(settings.meshes, photographs, settings.mesh_size, settings.primitives, settings.uses, seed)
        meshes = stack.enter_context(MeshPool(plan))
        (settings.run / "pids").write_text(f"{os.getpid()}\n{meshes.pid}\n")
        return meshes
    if settings.render:
        return stack.enter_context(_live(settings, device))
    return RenderedPool(settings.rendered)


def _live(settings: Settings, device: torch.device) -> LivePool:
    """Clips of the stage's length or of a whole shard's, rendered on the training device."""
    photos = load_photos(settings.real / "tum_fr1_rpy" / "rgb", 64, settings.seed) if settings.real else None
    plan = ShardPlan(LIVE_CLIPS, max(FRAMES, settings.frames), *settings.render_size, True)
    return LivePool(plan, LIVE_SEED + 10_000 * settings.seed, str(device), photos)


def real_source(settings: Settings) -> Source | None:
    """Training frames of TUM; single pictures also of the table-tops, where they are there."""
    if settings.real is None:
        return None
    sources: list[tuple[Source, float]] = [(RealFrames(settings.real / "tum_fr1_rpy", 0, TRAIN_LAST), 1.0)]
    if settings.frames == 1:
        folders = [(settings.real / "rgbd" / name, weight) for name, weight in TABLE_TOPS.items()]
        sources += [(RealFrames(folder, 0, 10_000), weight) for folder, weight in folders if folder.exists()]
    return Several(sources)


def _run(trainer: Trainer, pool: Pool, stopping: Callable[[], bool]) -> None:
    settings = trainer.settings
    real = real_source(settings)
    mixture = Mixture(settings.size, settings.frames, settings.real_share if real else 0.0, settings.cut, settings.area)
    clock, losses = time.monotonic(), []
    for batch in batches((pool, real), mixture, settings.seed, trainer.step, settings.steps, settings.workers):
        losses.append(trainer.update(batch))
        if trainer.step % 20 == 0:
            pace = len(losses) * settings.size * settings.frames / (time.monotonic() - clock)
            record = {"step": trainer.step, "loss": sum(losses) / len(losses), "frames_per_s": round(pace, 2)}
            _log(settings, record | ({"rendered": pool.rendered} if isinstance(pool, MeshPool) else {}))
            clock, losses = time.monotonic(), []
        if trainer.step % settings.save_every == 0 or trainer.step == settings.steps:
            trainer.save()
        if settings.real and (trainer.step % settings.validate_every == 0 or trainer.step == settings.steps):
            found = evaluate(trainer.average, settings.real, 192, 256, every=5)
            _log(settings, {"step": trainer.step, **{k: round(v.abs_rel, 4) for k, v in found.items()}})
            clock = time.monotonic()
        if stopping():
            trainer.save()
            break


def _log(settings: Settings, record: dict[str, float]) -> None:
    stamp = {"stage": settings.stage, "area": settings.area, "time": round(time.time())}
    with (settings.run / "log.jsonl").open("a") as file:
        file.write(json.dumps(stamp | record) + "\n")


def parse(arguments: list[str] | None = None) -> Settings:
    """Settings from the command line."""
    parser = argparse.ArgumentParser(description="Train the embedded network.")
    parser.add_argument("run", type=Path)
    parser.add_argument("rendered", type=Path, help="folder of shards")
    parser.add_argument("--real", type=Path, help="folder with tum_fr1_rpy and tum_fr3_cabinet")
    parser.add_argument("--stage", choices=("image", "clip"), default="image")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--real-share", type=float, default=0.2)
    parser.add_argument("--cut", type=float, default=0.3, help="share of the batches of clips that have cuts in them")
    parser.add_argument("--area", choices=tuple(SIZES), default="whole", help="of the pictures, the default's being 1")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--packaged", type=Path, help="start from the weights in depthcast-nano.onnx")
    start.add_argument("--from-scratch", action="store_true", help="do without the ImageNet weights")
    parser.add_argument(
        "--memory-only", action="store_true", help="leave the single-frame network as it is, train its memory"
    )
    parser.add_argument("--render", action="store_true", help="render on the training device instead of reading shards")
    parser.add_argument("--meshes", type=Path, help="folder with models and textures: render these scenes as it goes")
    parser.add_argument("--mesh-size", type=int, nargs=2, default=(120, 160), help="height and width")
    parser.add_argument("--primitives", type=float, default=0.1, help="share of the scenes without meshes among them")
    parser.add_argument("--uses", type=int, default=2, help="times each mesh picture is drawn, cropped anew")
    parser.add_argument("--frozen", type=int, default=0, help="first blocks of the encoder that stay as they are")
    parser.add_argument("--render-size", type=int, nargs=2, default=(192, 256), help="height and width")
    parser.add_argument("--workers", type=int, default=1, help="threads that make batches; a GPU wants one a core")
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--validate-every", type=int, default=400)
    options = parser.parse_args(arguments)
    options.render_size, options.mesh_size = tuple(options.render_size), tuple(options.mesh_size)
    return Settings(**vars(options))


def main() -> None:
    """Train; SIGTERM saves and ends."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    train(parse(), torch.device("cuda" if torch.cuda.is_available() else "cpu"), told.is_set)


if __name__ == "__main__":
    main()
