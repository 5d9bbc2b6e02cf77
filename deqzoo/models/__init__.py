"""The zoo: one architecture a file; ``deqzoo.catalog.models`` finds them by name."""
