"""`python -m depthcast` is the `depthcast` command."""

from depthcast.cli import main

main()
