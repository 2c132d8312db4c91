"""The direction of imports, read from the source: depthcast → stream → engines ← export."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("depthcast", "stream", "engines", "export")
MAY_IMPORT = {
    "depthcast": {"depthcast", "stream", "engines"},
    "stream": {"stream", "engines"},
    "engines": {"engines"},
    "export": {"export", "engines"},
}
MAY_IMPORT_WHEN_CALLED = MAY_IMPORT | {"depthcast": {*PACKAGES}}
PARITY = ROOT / "export" / "verify.py"
"""Compares maps of two sizes, so it alone of `export` resizes one as a stream does."""
HEAVY = {"torch", "torchvision", "onnx", "onnxscript", "safetensors"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of all modules imported somewhere below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield (node.module or "").partition(".")[0]


def imported_at_once(tree: ast.Module) -> set[str]:
    """Those that run when the module itself is imported: not the ones inside functions or for type checkers."""
    return {name for statement in _executed(tree.body) for name in imported(statement)}


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) or _for_type_checkers(statement):
            continue
        if isinstance(statement, ast.ClassDef | ast.If | ast.With):
            yield from _executed(statement.body)
            yield from _executed(getattr(statement, "orelse", []))
        else:
            yield statement


def _for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package: str) -> None:
    assert modules(package)
    for path in modules(package):
        tree = ast.parse(path.read_text())
        allowed = MAY_IMPORT[package] | ({"stream"} if path == PARITY else set())
        assert imported_at_once(tree) & set(PACKAGES) <= allowed, path
        assert set(imported(tree)) & set(PACKAGES) <= MAY_IMPORT_WHEN_CALLED[package] | allowed, path


@pytest.mark.parametrize("package", ["stream", "engines"])
def test_runtime_never_imports_torch(package: str) -> None:
    for path in modules(package):
        assert not set(imported(ast.parse(path.read_text()))) & HEAVY, path


def test_face_imports_torch_only_when_called() -> None:
    for path in modules("depthcast"):
        assert not imported_at_once(ast.parse(path.read_text())) & HEAVY, path


def test_import_of_the_package_is_light() -> None:
    """`import depthcast` alone loads neither numpy nor the engines, the command line neither torch nor export."""
    code = (
        "import sys, depthcast; assert not {'numpy', 'onnxruntime', 'av'} & set(sys.modules)\n"
        "import depthcast.cli; assert not {'torch', 'tensorrt', 'export'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stay_small(package: str) -> None:
    for path in modules(package):
        source = path.read_text()
        assert len(source.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 40, f"{path}: {node.name}"
