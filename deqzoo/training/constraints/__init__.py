"""Ways to keep a model well posed during training, one a file; ``deqzoo.catalog.constraints`` finds them."""
