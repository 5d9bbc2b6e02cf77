"""Models found from what their units did: regression onto an activation, convex row by row.

Example:
    >>> import numpy as np
    >>> from deqzoo.identification import regress
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> regress("relu", x, np.maximum(x @ [1.0, -2.0, 0.5], 0)).round(6).tolist()
    [1.0, -2.0, 0.5]
"""

from deqzoo.identification.branch import Branch, branch
from deqzoo.identification.identify import Identified, identify
from deqzoo.identification.improper import Improper, improper
from deqzoo.identification.regress import regress

__all__ = [
    "Branch",
    "Identified",
    "Improper",
    "branch",
    "identify",
    "improper",
    "regress",
]
