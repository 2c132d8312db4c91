"""The network in torch, and its way out: checkpoint to module to ONNX. The only package that imports torch."""

import engines  # noqa: F401 -- switches off what libraries report to their makers
