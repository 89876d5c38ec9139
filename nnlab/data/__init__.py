"""Data: data sets by name or from a person's files and functions; rows split into parts, and scaled."""
