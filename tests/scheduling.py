"""Tests in several processes: those of one file share a process and its fixtures, and so do files that share graphs."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

EXPORTED = frozenset(f"tests/test_{name}.py" for name in ("build", "export_command", "network", "onnx", "openvino"))
"""They use what `tests.exported` makes, which takes longest of all: not to be made in every process."""


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """As `--dist loadfile`, with the files of `EXPORTED` taken for one."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "exported" if path in EXPORTED else path
