"""`python -m nnlab`."""

from nnlab.cli.app import main

main()
