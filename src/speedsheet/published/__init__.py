"""Sheets that others printed: read with what they leave out, and checked against themselves."""
