"""The trainer on tiny rendered clips: it goes on where it stopped, and a seed fixes what it does."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from export.nano import data, live, train
from export.nano.data import Mixture, RenderedPool, Several, make_batch
from export.nano.shards import ShardPlan, write_shard
from export.nano.train import Settings, schedule


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder, 0, ShardPlan(3, 4, 32, 48, True), None)
    return folder


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SIZES, "whole", ((32, 64), (64, 32)))


def settings(run: Path, shards: Path, steps: int) -> Settings:
    arguments = [str(run), str(shards), "--from-scratch", "--steps", str(steps), "--size", "2", "--save-every", "2"]
    return train.parse(arguments)


def run(options: Settings) -> dict[str, Tensor]:
    train.train(options, torch.device("cpu"))
    return load_file(options.run / "ema.safetensors")


def test_a_stopped_run_ends_as_one_that_was_not(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "schedule", lambda _step, _steps: 1.0)
    whole = run(settings(tmp_path / "whole", shards, 4))
    run(settings(tmp_path / "halves", shards, 2))
    halves = run(settings(tmp_path / "halves", shards, 4))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_clip_stage_starts_from_the_image_stage(shards: Path, tmp_path: Path) -> None:
    first = run(settings(tmp_path / "run", shards, 2))
    second = run(replace(settings(tmp_path / "run", shards, 2), stage="clip", frames=4))
    assert first.keys() == second.keys()
    moved = [name for name in first if not torch.equal(first[name], second[name])]
    assert any("proj_out" in name for name in moved)
    assert all(torch.isfinite(value).all() for value in second.values())


def test_training_the_memory_leaves_the_single_frame_network_as_it_was(shards: Path, tmp_path: Path) -> None:
    options = settings(tmp_path / "run", shards, 2)
    run(options)
    before = weights_of(options)
    run(replace(options, stage="clip", frames=4, memory_only=True))
    after = weights_of(options)
    assert {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"temporal"}


def test_a_run_that_is_told_to_stop_saves_and_goes_on_from_there(shards: Path, tmp_path: Path) -> None:
    options = settings(tmp_path / "run", shards, 5)
    train.train(options, torch.device("cpu"), lambda: True)
    assert torch.load(options.run / "state.pt", weights_only=True)["step"] == 1
    run(options)
    assert torch.load(options.run / "state.pt", weights_only=True)["step"] == 5


def test_frozen_blocks_stay_as_they_are(shards: Path, tmp_path: Path) -> None:
    options = replace(settings(tmp_path / "run", shards, 2), frozen=2)
    begun = train.Trainer(options, torch.device("cpu"))
    begun.begin()
    before = {name: value.clone() for name, value in begun.network.state_dict().items()}
    run(options)
    after = weights_of(options)
    still = {name for name in before if torch.equal(before[name], after[name]) and name.endswith("weight")}
    assert {name for name in still if name.startswith(("encoder.stem.", "encoder.blocks.0.", "encoder.blocks.1."))}
    assert not any(name.startswith(("encoder.blocks.2.", "decoder.head")) for name in still)


def test_several_sources_are_drawn_from_by_weight() -> None:
    class One:
        def __init__(self, value: int) -> None:
            self.value = value

        def draw(self, _rng: Random, _frames: int) -> tuple[Tensor, Tensor]:
            return torch.tensor(self.value), torch.tensor(0)

    both = Several([(One(1), 3.0), (One(2), 1.0)])
    rng = Random(0)
    drawn = [int(both.draw(rng, 1)[0]) for _ in range(400)]
    assert 270 < drawn.count(1) < 330


def test_clips_rendered_as_training_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LIVE_CLIPS", 1)
    monkeypatch.setattr(train, "FRAMES", 2)
    options = replace(settings(tmp_path / "run", tmp_path / "none", 2), render=True, render_size=(24, 32), workers=2)
    before = set(threading.enumerate())
    assert all(bool(torch.isfinite(value).all()) for value in run(options).values())
    assert set(threading.enumerate()) <= before


def test_a_renderer_that_fails_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[object]:
        raise ValueError("no such device")

    monkeypatch.setattr(live, "render_shard", fail)
    with live.LivePool(ShardPlan(1, 2, 24, 32, True), 0, "cpu", None) as pool, pytest.raises(RuntimeError) as found:
        pool.draw(Random(0), 1)
    assert isinstance(found.value.__cause__, ValueError)


def weights_of(options: Settings) -> dict[str, Tensor]:
    """As trained, not averaged."""
    state: dict[str, dict[str, Tensor]] = torch.load(options.run / "state.pt", weights_only=True)
    return state["network"]


def test_a_batch_is_a_function_of_seed_and_step(shards: Path) -> None:
    pool, mixture = RenderedPool(shards), Mixture(2, 4, 0.0, cut=1.0)
    one, same, other = (make_batch((pool, None), mixture, 3, step) for step in (7, 7, 8))
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.inverse, same.inverse)
    assert not torch.equal(one.images[0, 0, 0, :8, :8], other.images[0, 0, 0, :8, :8])
    assert one.group == 2
    assert bool(one.starts[:, 0].all())


def test_cuts_come_announced_and_unannounced(shards: Path) -> None:
    """A batch with cuts is two or three parts a clip; the stream restarts at some of the splices, not at all."""
    pool, mixture = RenderedPool(shards), Mixture(4, 6, 0.0, cut=1.0)
    found = [make_batch((pool, None), mixture, 0, step) for step in range(12)]
    assert {batch.group for batch in found} == {2, 3}
    told = torch.cat([batch.starts[:, batch.group] for batch in found])
    assert bool(told.any())
    assert not bool(told.all())


def test_pool_takes_up_new_shards(shards: Path) -> None:
    pool = RenderedPool(shards)
    write_shard(shards, 1, ShardPlan(1, 4, 32, 48, True), None)
    assert pool.refresh() == 2


def test_schedule_rises_and_falls() -> None:
    assert schedule(0, 1000) < schedule(50, 1000) < schedule(99, 1000)
    assert schedule(0, 1000) <= 0.01
    assert schedule(250, 1000) == schedule(600, 1000) == 1.0 > schedule(800, 1000) > schedule(999, 1000)
    assert schedule(1000, 1000) == pytest.approx(0.02)
