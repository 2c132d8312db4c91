"""The network in torch, and its way out: checkpoint to module to ONNX. The only package that imports torch."""
