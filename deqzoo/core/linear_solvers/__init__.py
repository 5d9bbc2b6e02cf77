"""Ways to solve u = Ju + b, one a file; ``deqzoo.catalog.linear_solvers`` finds them by name."""
