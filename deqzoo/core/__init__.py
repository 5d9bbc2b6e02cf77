"""Finding and differentiating fixed points, in pure JAX."""
