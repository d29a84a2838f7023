"""Frozen types, the error tree, units, and draws from raw bits. Standard library and numpy only."""
