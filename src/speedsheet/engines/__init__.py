"""A file per engine; each names its engine ENGINE. Nothing lists them."""
