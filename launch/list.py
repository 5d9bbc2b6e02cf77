"""Print the catalogs: ``python -m launch.list``."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console
from rich.table import Table

from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import combination
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.solver import Solver
from launch import _command

__all__ = ["main"]

# Arguments of a model that other flags and the task give.
_FROM_ELSEWHERE = ("rngs", "spec", "constants", "outputs", "activation", "dtype")


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """Settings of ``launch.list``."""

    catalog: str = dataclasses.field(
        default="", metadata={"help": "Only this catalog, for example activations."}
    )
    plugin: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata={"help": "Python modules to import first; they register plug-ins. Repeatable."},
    )


def main() -> None:
    """Entry point."""
    _command.start(show, ListConfig, usage=__doc__ or "")


def show(config: ListConfig) -> int:
    """Print one catalog or all."""
    for module in config.plugin:
        catalog.import_plugin(module)
    known = {each.group: each for each in catalog.ALL}
    if config.catalog and config.catalog not in known:
        raise _command.UsageError(
            f"no catalog is called {config.catalog!r}; there are {', '.join(known)}"
        )
    console = Console(width=None if Console().is_terminal else 160, markup=False)
    for each in [known[config.catalog]] if config.catalog else catalog.ALL:
        console.print(_activations() if each is catalog.activations else members(each))
    return _command.DONE


def _activations() -> Table:
    """Activations with their declared guarantees at default parameters."""
    table = Table(title="activations", title_justify="left")
    for column in ("recipe", "inf φ'", "sup φ'", "sup |φ''|", "max σ_w²", "prox"):
        table.add_column(column, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for name in catalog.activations.names():
        try:
            act = catalog.activations.get(name)
        except CatalogError as error:
            table.add_row(name, *[""] * 5, f"broken: {error}")
            continue
        numbers = (*act.slope, act.curvature, act.max_sigma_w2)
        table.add_row(
            _recipe(catalog.activations, name),
            *(f"{n:.6g}" for n in numbers),
            "yes" if act.is_prox else "no",
            _first_line(act),
        )
    return table


def members(each: catalog.Catalog) -> Table:
    """A catalog's members, and what they can be combined with."""
    table = Table(title=each.group, title_justify="left")
    table.add_column("recipe", overflow="fold", min_width=20)
    table.add_column("what it is", overflow="fold")
    company = _COMPANY.get(each.group)
    if company is not None:
        table.add_column("goes with", overflow="fold", min_width=20)
    for name in each.names():
        try:
            member = each.load(name)
            others = [] if company is None else [company(member)]
            table.add_row(_recipe(each, name), _first_line(member), *others)
        except CatalogError as error:
            table.add_row(name, f"broken: {error}")
    return table


def _company_of_a_solver(solver: type[Solver]) -> str:
    kind = "a deqzoo.Split" if solver.needs_split else "any map"
    return f"{kind}; {_among(combination.adjoints(solver), catalog.adjoints)}"


def _company_of_an_adjoint(adjoint: type[Adjoint]) -> str:
    return _among(combination.solvers(adjoint), catalog.solvers)


def _among(names: list[str], every: catalog.Catalog) -> str:
    """The names, or the few that are missing."""
    missing = [name for name in every.names() if name not in names]
    if len(names) <= len(missing):
        return ", ".join(names)
    return f"any {every.kind}" + (f" but {', '.join(missing)}" if missing else "")


_COMPANY: dict[str, Any] = {
    "solvers": _company_of_a_solver,
    "adjoints": _company_of_an_adjoint,
}


def _recipe(each: catalog.Catalog, name: str) -> str:
    own = [
        p
        for p in each.parameters(name)
        if each is not catalog.models or p.split("=")[0] not in _FROM_ELSEWHERE
    ]
    return f"{name}({', '.join(own)})" if own else name


def _first_line(member: object) -> str:
    return (member.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    main()
