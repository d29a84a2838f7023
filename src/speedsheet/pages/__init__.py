"""Sheets as pages that one looks at: a file that opens offline, and a server of this machine's own results."""
