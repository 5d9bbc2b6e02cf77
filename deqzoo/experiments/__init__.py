"""The experiments of the papers, one a file; ``deqzoo.catalog.experiments`` finds them by name."""
