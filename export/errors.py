"""What can go wrong between a checkpoint and an engine."""


class ExportError(Exception):
    """Root of this package's errors. The message says what, what was got, and what to do."""


class CheckpointError(ExportError):
    """The file is not a checkpoint of this network, or not one that can be read safely."""


class ParityError(ExportError):
    """An exported network departs from the torch oracle by more than the stated limit."""


class BuildError(ExportError):
    """TensorRT cannot read a graph, or cannot compile it as asked."""
