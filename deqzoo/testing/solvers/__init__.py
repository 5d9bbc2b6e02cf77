"""What every solver must be, an idea a file; ``deqzoo.testing.solver`` asks all of it."""
