"""The only timed loop in the product."""
