"""The conformance kit: what every member of a catalog must be, asked of any member.

``check_solver``, ``check_model`` and so on take a member or its recipe and raise AssertionError
with the truth that does not hold, the member and the numbers. deqzoo's own tests call them over
everything in the catalogs; another package tests its members in three lines, with pytest or without
(``name_of`` then names the cases, see ``deqzoo.testing.check``).

Example:
    >>> from deqzoo.testing import check_activation
    >>> check_activation("leaky_relu(negative_slope=0.2)")
"""

from deqzoo.testing.activation import check_activation
from deqzoo.testing.adjoint import check_adjoint
from deqzoo.testing.check import Check, name_of
from deqzoo.testing.constraint import check_constraint
from deqzoo.testing.exact_adjoint import check_exact_adjoint
from deqzoo.testing.linear_solver import check_linear_solver
from deqzoo.testing.loss import check_loss
from deqzoo.testing.metric import check_metric
from deqzoo.testing.model import check_model
from deqzoo.testing.optimizer import check_optimizer
from deqzoo.testing.regularizer import check_regularizer
from deqzoo.testing.sink import check_sink
from deqzoo.testing.solver import check_solver
from deqzoo.testing.task import check_task

__all__ = [
    "Check",
    "check_activation",
    "check_adjoint",
    "check_exact_adjoint",
    "check_linear_solver",
    "check_metric",
    "check_loss",
    "check_task",
    "check_sink",
    "check_model",
    "check_constraint",
    "check_optimizer",
    "check_regularizer",
    "check_solver",
    "name_of",
]
