"""`python -m speedsheet` is `speedsheet`."""

from speedsheet.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
