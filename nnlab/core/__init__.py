"""The vocabulary of everything else: the grammar, kinds of values, spelling, errors, random streams. Does not import torch."""
