"""Functions of straight pieces with few knots under a bound of their slopes.

Example:
    >>> import activations
    >>> from deqzoo.splines import distill
    >>> found = distill(activations.get("gelu"), knots=9)
    >>> found.error < 0.02, len(found.spline.kinks)
    (True, 9)
"""

from deqzoo.splines.distill import Distilled, distill
from deqzoo.splines.equilibrium_error import equilibrium_error
from deqzoo.splines.sparsest import min_knots, sparsest

__all__ = ["Distilled", "distill", "equilibrium_error", "min_knots", "sparsest"]
