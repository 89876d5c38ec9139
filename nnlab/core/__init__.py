"""The vocabulary that everything else is written in: names, the grammar, settings, errors. Knows no torch."""
