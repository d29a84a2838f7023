"""A sealed row on disk: written atomically, read back with its checks; and the facts of the host that measured it."""
