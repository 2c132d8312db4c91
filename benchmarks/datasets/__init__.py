"""RGB-D sequences in the folder layouts of the usual benchmarks."""

from benchmarks.datasets.layouts import LAYOUTS, Layout, open_sequences
from benchmarks.datasets.sequence import DatasetError, Sequence, Shot

__all__ = ["LAYOUTS", "DatasetError", "Layout", "Sequence", "Shot", "open_sequences"]
