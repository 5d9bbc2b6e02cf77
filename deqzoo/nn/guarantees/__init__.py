"""Guarantees, a theorem a file."""
