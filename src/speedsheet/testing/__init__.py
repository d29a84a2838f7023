"""Shipped with the product: the null engine, engines that fail on purpose, and the contract that engines keep."""

from speedsheet.testing.contract import EngineContract
from speedsheet.testing.null import NullEngine

__all__ = ["EngineContract", "NullEngine"]
