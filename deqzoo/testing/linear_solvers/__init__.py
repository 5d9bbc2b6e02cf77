"""What every linear solver must be, an idea a file; ``deqzoo.testing.linear_solver`` asks it."""
