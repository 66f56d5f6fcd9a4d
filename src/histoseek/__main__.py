"""python -m histoseek."""

from histoseek.cli import main

main()
