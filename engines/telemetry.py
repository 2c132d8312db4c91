"""Libraries that report their use to their makers are told not to, before any of them is imported.

ONNX Runtime from 1.29 on writes an identifier of the machine into the user's cache as soon as it is imported, and sends
what it runs to Microsoft. OpenVINO reports its import to its maker from a forked process; a fork of a process with
threads may never end and keep what it holds open.

Every package of ours imports `engines` first of all, so this runs before any module that imports such a library.
"""

from __future__ import annotations

import os
import sys

_ONNXRUNTIME_OFF = "ORT_DISABLE_TELEMETRY"
_OPENVINO_REPORTER = "openvino_telemetry"


def switch_off() -> None:
    """For this process and those that it starts; whatever the environment says: nobody asked for reports here."""
    os.environ[_ONNXRUNTIME_OFF] = "1"
    # OpenVINO reports nothing where this module cannot be imported.
    sys.modules[_OPENVINO_REPORTER] = None  # type: ignore[assignment]
