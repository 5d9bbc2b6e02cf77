"""Metrics, one a file; ``deqzoo.catalog.metrics`` finds them by name."""
