"""`depthcast doctor`: what is here, and what would run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from depthcast.doctor import Diagnosis, EngineState, ModelState, diagnose
from depthcast.settings import Settings


def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Tell what is installed, which GPU and models are here, and which engine would run each model and why."""
    found = diagnose(Settings.from_environment())
    print(json.dumps(asdict(found), indent=1, ensure_ascii=False) if as_json else "\n".join(lines(found)))


def lines(found: Diagnosis) -> Iterator[str]:
    """The report for people."""
    yield f"python        {found.python}, {found.system}"
    for package in found.packages:
        providers = f" ({', '.join(found.providers)})" if package.name == "onnxruntime" else ""
        yield f"{package.name:<13} {package.version or 'not installed'}{providers}"
    cpu = found.processor
    yield f"cpu           {cpu.model}, {cpu.cores} cores, {' '.join(cpu.flags) or 'instruction sets not known'}"
    if found.gpu is None:
        yield f"gpu           none: {found.gpu_why}"
    else:
        capability, memory_gb = "{}.{}".format(*found.gpu.capability), found.gpu.memory_bytes / 1e9
        yield f"gpu           {found.gpu.name}, capability {capability}, {memory_gb:.1f} GB, driver {found.gpu.driver}"
    yield f"TensorRT      {found.tensorrt}"
    hint = "" if found.home_is_usable else ": cannot be written to, set DEPTHCAST_HOME to a folder that can"
    yield f"home          {found.home}{hint}"
    for model in found.models:
        yield from _model(model)
    for engine in found.engines:
        yield _engine(engine)


def _model(state: ModelState) -> Iterator[str]:
    runs = f"on {state.engine}" if state.engine else "cannot run"
    yield f"{state.model}: {runs}: {state.why}"
    if state.why_not:
        yield f"    not on tensorrt: {state.why_not}"
    here = [*([state.checkpoint] if state.checkpoint else []), *state.networks]
    if here:
        yield f"    here: {', '.join(here)}"


def _engine(state: EngineState) -> str:
    return f"{state.path}: {'would be used' if state.accepted else f'would not be used: {state.why}'}"
