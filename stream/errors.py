"""What can go wrong around the network. Every message says in one line what failed, on what, and what to do."""


class StreamError(Exception):
    """Root of this package's errors."""


class SourceError(StreamError):
    """A source cannot be opened or read."""


class SinkError(StreamError):
    """An output cannot be created, written or finished."""


class CutRecordingError(SinkError):
    """An output cannot be written further, and what was recorded stays.

    reason: what failed, and why. part: the file that stays.
    """

    def __init__(self, reason: str, part: str) -> None:
        super().__init__(f"{reason}; what was recorded until then is in {part}")
        self.reason = reason


class FrameSizeError(StreamError):
    """Frames of this shape cannot be given to a network."""


class UriError(StreamError):
    """A source or output is written in a way that means nothing here."""


class CameraError(StreamError):
    """A camera's description cannot be read, or does not fit its pictures."""


class UnitError(StreamError):
    """Depth of this unit cannot be what was asked for."""


class ExtraMissing(StreamError):
    """A package that is installed only on request is not here."""


class RawError(StreamError):
    """A raw depth message is damaged, or of a kind that this version does not know."""
