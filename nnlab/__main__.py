"""`python -m nnlab`."""

from nnlab.cli.app import program

program()
