"""Leave the weights alone and only report."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.training.constraint import Constraint

__all__ = ["Monitor"]


@dataclass(frozen=True)
class Monitor(Constraint):
    """No change.

    The theory says that a wide enough model stays well posed; the log shows the bound of its
    guarantee (L‖W‖₂) and warns at 1.
    """

    def apply(self, parameters, guarantees):
        """The parameters as they are."""
        del guarantees
        return parameters
