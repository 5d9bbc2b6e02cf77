"""Activation plug-ins, one a file, and the catalog's verbs.

Example:
    >>> import activations
    >>> activations.get("leaky_relu(negative_slope=0.2)").slope
    (0.2, 1.0)
"""

from deqzoo.activation.check import check
from deqzoo.catalog import activations as _catalog

get = _catalog.get
names = _catalog.names
register = _catalog.register

__all__ = ["check", "get", "names", "register"]
