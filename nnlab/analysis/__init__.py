"""What the numbers say: intervals, paired tests, ties, verdicts. Rows in, rows out; no torch, no pictures."""
