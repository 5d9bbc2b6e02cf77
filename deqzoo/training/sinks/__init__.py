"""Sinks, one a file; ``deqzoo.catalog.sinks`` finds them by name."""
