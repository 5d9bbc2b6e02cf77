"""Deep equilibrium models in JAX and Flax, with activations that carry their guarantees."""

from deqzoo.activation import Activation
from deqzoo.fixed_point import fixed_point
from deqzoo.solution import FixedPointError, Solution, Stats, Status

__all__ = ["Activation", "FixedPointError", "Solution", "Stats", "Status", "fixed_point"]
__version__ = "0.1.0"
