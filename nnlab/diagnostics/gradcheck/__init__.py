"""Gradient checks: subjects, differences and the likely causes of a wrong gradient."""
