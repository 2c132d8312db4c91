"""Which back end runs where, and what is said where none does."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from engines import backend
from engines.backend import Backend, Choice, Complaints, choose_backend, load_backend, load_device
from engines.errors import EngineUnavailable

BOTH = {"tensorrt", "tensorrt_rtx_bindings"}


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)])
def test_rtx_cards_get_tensorrt_for_rtx(capability: tuple[int, int]) -> None:
    choice = choose_backend(capability, BOTH.__contains__)
    number = "{}.{}".format(*capability)
    assert choice == Choice("tensorrt_rtx", f"made for compute capability {number}", None)


@pytest.mark.parametrize("capability", [(7, 0), (8, 7), (9, 0), (10, 0), (11, 0)])
def test_other_cards_get_the_full_one(capability: tuple[int, int]) -> None:
    choice = choose_backend(capability, BOTH.__contains__)
    assert (choice.name, choice.install) == ("tensorrt", None)
    assert "TensorRT-RTX does not take compute capability" in choice.why


def test_an_rtx_card_makes_do_with_the_full_one_and_says_so() -> None:
    choice = choose_backend((8, 9), {"tensorrt"}.__contains__)
    assert (choice.name, choice.install) == ("tensorrt", None)
    assert choice.why == "TensorRT-RTX, made for compute capability 8.9, is not installed"


def test_what_is_not_installed_comes_with_the_command() -> None:
    nothing: set[str] = set()
    assert choose_backend((8, 9), nothing.__contains__).install == "pip install 'depthcast[rtx]'"
    assert choose_backend((9, 0), {"tensorrt_rtx"}.__contains__).install == "pip install 'depthcast[tensorrt]'"


def test_without_a_gpu_engines_are_built_by_tensorrt_for_rtx() -> None:
    assert choose_backend(None, BOTH.__contains__) == Choice("tensorrt_rtx", "builds without a GPU", None)


def test_loading_what_is_not_installed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "is_installed", lambda _: False)
    with pytest.raises(EngineUnavailable, match=r"TensorRT is not installed: pip install 'depthcast\[tensorrt\]'"):
        load_backend("tensorrt")


def test_loading_what_is_broken_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(backend, "is_installed", lambda _: True)
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineUnavailable, match=r"does not load \(libnvinfer"):
        load_backend("tensorrt")


def test_a_loaded_back_end_knows_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(__version__="10.9.0.34", __spec__=None)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(backend, "is_installed", lambda name: name == "tensorrt")
    loaded = load_backend("tensorrt")
    assert (loaded, loaded.label) == (Backend("tensorrt", "10.9.0.34", module), "TensorRT 10.9.0.34")


def test_without_cuda_python_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "engines.cuda", None)
    with pytest.raises(EngineUnavailable, match="cuda-bindings is not installed"):
        load_device()


class Logger:
    """Of a back end whose severities are numbers."""

    ERROR, WARNING, INFO = 1, 2, 3


def test_only_errors_are_kept_and_each_is_told_once() -> None:
    complaints = Complaints(SimpleNamespace(ILogger=Logger))
    assert isinstance(complaints.sink, Logger)
    for severity, text in ((1, " bad \n"), (2, "odd"), (3, "fine"), (0, "worse")):
        complaints.sink.log(severity, text)  # type: ignore[attr-defined]
    assert complaints.take() == "bad; worse"
    assert complaints.take() == "no reason given"
