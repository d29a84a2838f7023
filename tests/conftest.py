"""What tests share: a cache and a data folder of their own, and a small model of several input types."""

import os
import signal

import onnx
import pytest

from speedsheet.testing.contract import example_model


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard():
    """Tests send signals; a run that was started in the background would hand down that they are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """Keep the user's cache and data folders out of it; worker processes inherit the choice."""
    root = tmp_path_factory.mktemp("speedsheet")
    os.environ["SPEEDSHEET_CACHE"], os.environ["SPEEDSHEET_DATA"] = str(root / "cache"), str(root / "data")
    return root


@pytest.fixture
def small_model(tmp_path):
    """Write a model with float, integer, boolean and scalar inputs, of four samples."""
    path = tmp_path / "small.onnx"
    onnx.save(example_model(), path)
    return path
