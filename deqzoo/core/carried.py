"""A solver as an argument of programs: what is traced of it are leaves, the rest is static."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.core.solver import Solver
from deqzoo.settings import SettingError, is_traced

_TOLERANCES = "rtol", "atol"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Carried:
    """A solver whose tolerances may be arguments of a program.

    Attributes:
        fixed: the solver, with zeros for what is traced.
        traced: tolerances by name.

    Example:
        >>> import jax
        >>> from deqzoo.core.carried import Carried
        >>> from deqzoo.core.solvers.picard import Picard
        >>> Carried.of(Picard(rtol=1e-3), float).traced
        {}
        >>> jax.eval_shape(lambda r: Carried.of(Picard(rtol=r), "float32"), 1e-3).traced
        {'rtol': ShapeDtypeStruct(shape=(), dtype=float32)}
    """

    fixed: Solver = field(metadata={"static": True})
    traced: dict[str, Float[Array, ""]]

    @classmethod
    def of(cls, solver: Solver, dtype: DTypeLike) -> Carried:
        """The solver in two parts; norms, and so tolerances, are of this dtype.

        Raises:
            SettingError: a member within it has a tolerance that is traced.
        """
        values = {name: getattr(solver, name) for name in _TOLERANCES}
        values = {name: v for name, v in values.items() if is_traced(v)}
        traced = lax.stop_gradient({name: jnp.asarray(v, dtype) for name, v in values.items()})
        fixed = replace(solver, **dict.fromkeys(traced, 0.0)) if traced else solver
        require_known(fixed)
        return cls(fixed, traced)

    @property
    def solver(self) -> Solver:
        """The solver itself."""
        return replace(self.fixed, **self.traced) if self.traced else self.fixed


def require_known(member: Any) -> None:
    """Refuse a member with a traced setting, its own or that of a member within.

    Raises:
        SettingError: the message names it.
    """
    for each in fields(member):
        value = getattr(member, each.name)
        if is_traced(value):
            raise SettingError(
                f"{each.name} of {type(member).__name__} must be known before the program runs, "
                "got a traced number: of a fixed-point solver alone rtol and atol may be traced, "
                "and a solver within another one, or an adjoint's, takes those where it has none"
            )
        if is_dataclass(value):
            require_known(value)
