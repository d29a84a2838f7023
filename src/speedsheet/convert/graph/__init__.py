"""ONNX graphs as data: read with suspicion, walked, counted, and given shapes."""
