"""The models that ship: a file per family, each of which declares its WORKLOADS and builds them."""
