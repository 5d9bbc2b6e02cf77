"""Losses, one a file; ``deqzoo.catalog.losses`` finds them by name."""
