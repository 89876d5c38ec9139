"""Experiments, for every command that trains: plan -> training -> journal -> conclusion -> files."""
