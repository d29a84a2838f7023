"""Every shipped engine keeps the contract that the product relies on."""

import sys

import pytest

from speedsheet import plugins
from speedsheet.core.engine import EngineUnavailable, grant
from speedsheet.core.errors import UnknownName, UsageError
from speedsheet.engines.onnxruntime import OnnxRuntime
from speedsheet.engines.openvino import OpenVino
from speedsheet.testing import EngineContract, NullEngine


class TestOnnxRuntime(EngineContract):
    engine = OnnxRuntime()


class TestOpenVino(EngineContract):
    engine = OpenVino()


class TestNull(EngineContract):
    engine = NullEngine()


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_missing_engine_names_the_command_that_installs_it(name, monkeypatch):
    """Without its library an engine is unavailable, with the reason and the remedy, and no crash."""
    monkeypatch.setitem(sys.modules, name, None)
    found = plugins.probe(name)
    assert isinstance(found, EngineUnavailable)
    assert "not installed" in found.reason
    assert found.do == f'pip install "speedsheet[{name}]"'


def test_precisions_fall_back_as_stated_and_never_to_a_narrower_one():
    """fp16 runs as fp16, else bf16, else fp32; bf16 else fp32; int8 is never made of anything else."""
    assert grant("fp16", ("fp32", "fp16", "bf16")) == "fp16"
    assert grant("fp16", ("fp32", "bf16")) == "bf16"
    assert grant("bf16", ("fp32", "fp16")) == "fp32"
    assert grant("fp32", ("fp32", "bf16")) == "fp32"
    with pytest.raises(UsageError, match="int8"):
        grant("int8", ("fp32",))


def test_unknown_names_ask_what_was_meant():
    """A typing error costs one line."""
    with pytest.raises(UnknownName, match="did you mean openvino"):
        plugins.engine("openvno")
    with pytest.raises(UnknownName, match=r"write package\.module:ATTRIBUTE"):
        plugins.engine("speedsheet.testing.null:NOTHING")
    with pytest.raises(UnknownName, match="did you mean bert_128"):
        plugins.workload("bert128")


def test_an_engine_of_ones_own_is_named_by_its_module():
    """A stranger's engine needs no entry in speedsheet."""
    assert plugins.engine("speedsheet.testing.null:ENGINE").name == "speedsheet.testing.null:ENGINE"
