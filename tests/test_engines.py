"""Every shipped engine keeps the contract that the product relies on."""

from speedsheet.engines.onnxruntime import OnnxRuntime
from speedsheet.engines.openvino import OpenVino
from speedsheet.testing import EngineContract, NullEngine


class TestOnnxRuntime(EngineContract):
    engine = OnnxRuntime()


class TestOpenVino(EngineContract):
    engine = OpenVino()


class TestNull(EngineContract):
    engine = NullEngine()
