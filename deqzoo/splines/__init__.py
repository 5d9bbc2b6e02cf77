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
from deqzoo.splines.regression import Regression, largest_weight, regression
from deqzoo.splines.sparsest import min_knots, sparsest

__all__ = [
    "Distilled",
    "Regression",
    "distill",
    "equilibrium_error",
    "largest_weight",
    "min_knots",
    "regression",
    "sparsest",
]
