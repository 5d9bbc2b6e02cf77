"""A finished run from outside: load it, evaluate it, export it."""
