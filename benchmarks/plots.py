"""Pictures of results, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.evaluate import Evaluation
from benchmarks.metrics import Floats

mpl.use("Agg")


def error_over_time(path: Path, evaluations: Mapping[str, Evaluation]) -> None:
    """AbsRel of each frame, and the temporal alignment error of each pair where there are poses."""
    with_tae = any(evaluation.tae is not None for evaluation in evaluations.values())
    figure = Figure(figsize=(9, 6 if with_tae else 3), layout="constrained")
    axes = np.atleast_1d(np.array(figure.subplots(2 if with_tae else 1, sharex=True)))
    for way, evaluation in evaluations.items():
        errors = evaluation.aligned["sequence"]
        axes[0].plot(errors.frames, errors.abs_rel, label=way, linewidth=1)
        if evaluation.tae is not None:
            axes[1].plot(evaluation.tae, label=way, linewidth=1)
    axes[0].set_ylabel("AbsRel")
    if with_tae:
        axes[1].set_ylabel("temporal alignment error, ×100")
    axes[-1].set_xlabel("frame")
    axes[0].legend()
    save(figure, path)


def column_over_time(path: Path, evaluations: Mapping[str, Evaluation], truth: Floats) -> None:
    """The middle column of pixels of every frame, side by side: what flickers shows as stripes."""
    columns = {"sensor": truth, **{way: evaluation.depth for way, evaluation in evaluations.items()}}
    known = truth[truth > 0]
    low, high = np.quantile(1 / known, (0.02, 0.98))
    figure = Figure(figsize=(9, 1.6 * len(columns)), layout="constrained")
    for axes, (name, depth) in zip(
        np.atleast_1d(np.array(figure.subplots(len(columns)))), columns.items(), strict=True
    ):
        axes.imshow(middle_column(depth), cmap="inferno", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        axes.set_ylabel(name)
        axes.set_xticks([])
        axes.set_yticks([])
    save(figure, path)


def middle_column(depth: Floats) -> NDArray[np.floating]:
    """Inverse depth [H, T] of the middle column of depth [T, H, W]; NaN where there is none."""
    column = depth[:, :, depth.shape[2] // 2].T
    with np.errstate(divide="ignore"):
        return np.where(column > 0, 1 / column, np.nan)


def save(figure: Figure, path: Path) -> None:
    """Write a picture, the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "depthcast", "svg.fonttype": "none"}):
        figure.savefig(path, metadata=metadata, dpi=110)
