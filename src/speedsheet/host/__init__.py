"""What the machine is and does: its facts, its limits, its clock, and what disturbs it."""
