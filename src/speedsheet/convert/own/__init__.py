"""Users' own models: what a request to one holds, and a copy of it to measure."""
