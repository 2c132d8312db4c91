"""What can go wrong around the network. Every message says in one line what failed, on what, and what to do."""


class StreamError(Exception):
    """Root of this package's errors."""


class SourceError(StreamError):
    """A source cannot be opened or read."""


class SinkError(StreamError):
    """An output cannot be created, written or finished."""


class FrameSizeError(StreamError):
    """Frames of this shape cannot be given to a network."""


class UriError(StreamError):
    """A source or output is written in a way that means nothing here."""
