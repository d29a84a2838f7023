"""Pure arithmetic on arrays: estimates with the intervals that the data supports."""
