"""Ways to differentiate a fixed point, one a file; ``deqzoo.catalog.adjoints`` finds them."""
