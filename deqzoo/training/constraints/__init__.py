"""Constraints, one a file; ``deqzoo.catalog.constraints`` finds them by name."""
