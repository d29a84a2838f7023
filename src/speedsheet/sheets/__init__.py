"""Rows to Markdown, CSV, JSON and the terminal, a file per format over one list of columns; and suites, the way in."""
