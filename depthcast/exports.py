"""Exports networks. The door to `export` opens only where torch is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from depthcast.errors import ModelError, UsageError
from depthcast.models import NANO, PACKAGED_NANO
from depthcast.plan import (
    THIS_MACHINE,
    Machine,
    Mode,
    Precision,
    Wanted,
    checkpoint_of,
    size_text,
    steps_to_readiness,
    stored_network,
)
from depthcast.settings import Settings
from engines.spec import Pixels
from engines.spec import Precision as Arithmetic

Say = Callable[[str], None]
"""Told, in a line, what is being done that takes long."""
Progress = Callable[[str, int, int], None]
"""Told (phase, steps done, steps in all)."""
PARITY_FRAMES = 60
PRECISIONS: Mapping[Precision, Arithmetic] = MappingProxyType(
    {Precision.AUTO: "fp32", Precision.FP32: "fp32", Precision.FP16: "fp16", Precision.BF16: "bf16"}
)


@dataclass(frozen=True, slots=True)
class Form:
    """What a network takes and gives, and how its export is checked.

    batch: streams a call; None: any number. pixels, resized_to: as in `engines.spec.ModelSpec`.
    parity_frames: compared with torch; 0: not at all. parity_limit: None: that of the precision.
    """

    batch: int | None = 1
    pixels: Pixels = "float32"
    resized_to: tuple[int, int] | None = None
    parity_frames: int = PARITY_FRAMES
    parity_limit: float | None = None

    @property
    def is_plain(self) -> bool:
        """One stream, normalised pictures in, a map of their size out: what the model store holds."""
        return (self.batch, self.pixels, self.resized_to) == (1, "float32", None)


PLAIN = Form()


def export_to(
    out: Path | None,
    wanted: Wanted,
    size: tuple[int, int],
    settings: Settings,
    say: Say,
    machine: Machine = THIS_MACHINE,
    form: Form = PLAIN,
    progress: Progress | None = None,
) -> Path:
    """Export a network for pictures of size (height, width) to `out`, or into the model store; returns where.

    Raises ModelError where weights or torch are missing, UsageError for the model that is packaged.
    """
    if wanted.model.name == NANO:
        raise UsageError(f"nano comes with depthcast as ONNX: {PACKAGED_NANO}")
    if out is not None and out.suffix != ".onnx":
        raise UsageError(f"a network is written to a .onnx file, got {out}")
    if out is None and not form.is_plain:
        raise UsageError("--batch, --pixels and --resized-to are for programs of your own: add --output FILE.onnx")
    if wanted.mode is Mode.OFFLINE and not form.is_plain:
        raise UsageError("--batch, --pixels and --resized-to are for streaming networks: use --mode stream")
    network = out or stored_network(wanted, size, settings)
    with settings.using_home():
        export_network(wanted, require_ready(wanted, settings, machine), network, size, say, form, progress)
    return network


def require_ready(wanted: Wanted, settings: Settings, machine: Machine) -> Path:
    """The checkpoint to export; ModelError with the commands to run first where it or torch is missing."""
    checkpoint = checkpoint_of(wanted, settings)
    steps = steps_to_readiness(wanted, checkpoint, machine)
    if checkpoint is None or steps:
        raise ModelError(f"{wanted.model.label} cannot be exported yet: first {' and '.join(steps)}")
    if not checkpoint.is_file():
        raise ModelError(f"there is no checkpoint at {checkpoint}")
    return checkpoint


def export_network(
    wanted: Wanted,
    checkpoint: Path,
    out: Path,
    size: tuple[int, int],
    say: Say,
    form: Form = PLAIN,
    progress: Progress | None = None,
) -> None:
    """Write the graph of a checkpoint and its spec. Raises ModelError where it cannot be, or fails its check."""
    say(f"exporting {wanted.model.label} for {size_text(size)}; this is done once and takes a while …")
    from export.config import CONFIGS
    from export.errors import ExportError
    from export.to_onnx import Parity, export_step, export_window

    config, metric = CONFIGS[wanted.model.name], wanted.model.metric
    precision: Arithmetic = PRECISIONS[wanted.precision]
    parity, report = Parity(form.parity_frames, form.parity_limit), announced(say, progress)
    try:
        if wanted.mode is Mode.OFFLINE:
            export_window(
                config, checkpoint, out, size, metric=metric, precision=precision, parity=parity, progress=report
            )
        else:
            export_step(
                config,
                checkpoint,
                out,
                size,
                metric=metric,
                batch=form.batch,
                precision=precision,
                pixels=form.pixels,
                resized_to=form.resized_to,
                parity=parity,
                progress=report,
            )
    except ExportError as error:
        raise ModelError(str(error)) from error


def announced(say: Say, progress: Progress | None) -> Progress:
    """Tells progress on, and says each phase in a line when it begins, for logs that show no bar."""

    def report(phase: str, done: int, steps: int) -> None:
        if not done:
            say(f"{phase}, {steps} frames …")
        if progress is not None:
            progress(phase, done, steps)

    return report
