"""The files depth can be written to."""

from stream.sinks.gray16 import Gray16Scale, Gray16Sink, read_gray16
from stream.sinks.npz import NpzSink
from stream.sinks.size import Resolution, fit_resolution
from stream.sinks.video import VideoSink

__all__ = ["Gray16Scale", "Gray16Sink", "NpzSink", "Resolution", "VideoSink", "fit_resolution", "read_gray16"]
