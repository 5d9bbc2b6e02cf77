"""Update rules, one a file; ``deqzoo.catalog.solvers`` finds them by name."""
