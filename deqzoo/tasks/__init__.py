"""Data sets, one a file; ``deqzoo.catalog.tasks`` finds them by name."""
