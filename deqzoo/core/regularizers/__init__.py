"""Penalties on a fixed point, one a file; ``deqzoo.catalog.regularizers`` finds them by name."""
