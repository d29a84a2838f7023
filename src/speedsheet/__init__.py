"""Inference speed sheets that can be checked: a model goes in, a row comes out, and every number can be verified."""

__version__ = "0.1.0"
