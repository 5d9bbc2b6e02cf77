"""Optimizers, one a file; ``deqzoo.catalog.optimizers`` finds them by name."""
