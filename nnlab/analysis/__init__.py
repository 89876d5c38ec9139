"""Statistics on tables of runs: intervals, paired tests, ties, verdicts. Rows in, rows out; no torch, no pictures."""
