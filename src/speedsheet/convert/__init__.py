"""Models to ONNX: a file per framework, weights drawn into shipped graphs, users' own files, the artifact cache."""
