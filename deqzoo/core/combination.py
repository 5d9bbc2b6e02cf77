"""What goes with what: a solver, an adjoint and a kind of map that can be used together.

A member declares what it needs as class data: ``Solver.needs_split``, ``Adjoint.solvers``.
"""

from __future__ import annotations

from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.solver import Solver
from deqzoo.recipe import name_of


class CombinationError(ValueError):
    """Members that do not go together; the message names some that do."""


def require(solver: Solver, adjoint: Adjoint, *, has_split: bool | None = None) -> None:
    """Refuse a solver that does not fit the adjoint or the map. Nothing is traced.

    Args:
        solver: how a fixed point is to be found.
        adjoint: how it is to be differentiated.
        has_split: whether the map is a ``deqzoo.Split``; None where that is not known yet.

    Raises:
        CombinationError: they do not go together.

    Example:
        >>> from deqzoo import catalog
        >>> from deqzoo.core import combination
        >>> adjoint = catalog.adjoints.get("shine")
        >>> combination.require(catalog.solvers.get("broyden"), adjoint)
        >>> combination.require(catalog.solvers.get("picard"), adjoint)
        Traceback (most recent call last):
        deqzoo.core.combination.CombinationError: the adjoint shine does not go with the solver ...
    """
    name = name_of(type(solver))
    if not isinstance(solver, adjoint.solvers):
        raise CombinationError(
            f"the adjoint {name_of(type(adjoint))} does not go with the solver {name}: use the "
            f"solver {_either(solvers(type(adjoint)))}, or the adjoint "
            f"{_either(adjoints(type(solver)))}"
        )
    if has_split is False and needs_split(solver):
        plain = [each for each in solvers(type(adjoint)) if not _load(each).needs_split]
        raise CombinationError(
            f"the solver {name} needs to know the affine part of the map, and the map is no "
            f"deqzoo.Split: use the solver {_either(plain)}, or deqzoo.fixed_point with a Split"
        )


def needs_split(solver: Solver) -> bool:
    """Whether one of its rules needs a ``deqzoo.Split``."""
    return any(rule.needs_split for rule in solver.stages())


def solvers(adjoint: type[Adjoint]) -> list[str]:
    """The names of the solvers that an adjoint takes."""
    return [name for name in _sound(catalog.solvers) if issubclass(_load(name), adjoint.solvers)]


def adjoints(solver: type[Solver]) -> list[str]:
    """The names of the adjoints that take a solver."""
    found = {name: catalog.adjoints.load(name) for name in _sound(catalog.adjoints)}
    return [name for name, adjoint in found.items() if issubclass(solver, adjoint.solvers)]


def _load(name: str) -> type[Solver]:
    return catalog.solvers.load(name)


def _sound(members: catalog.Catalog) -> list[str]:
    """The names of all members that load; a broken plug-in is no advice."""
    names = []
    for name in members.names():
        try:
            members.load(name)
        except CatalogError:
            continue
        names.append(name)
    return names


def _either(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
