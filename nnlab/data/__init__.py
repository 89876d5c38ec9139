"""Data: where rows come from, how files are read, and how rows are divided and scaled."""
