"""A catalog finds plug-ins by name: the files of a folder, entry points, and run-time registration.

A *member* is one file whose ``__all__`` holds exactly one public object; the name of the file is
the name of the member. Listing the names imports no member. ``deqzoo.recipe`` says what a recipe
is. In names case and underscores are forgiven: ``ReLU`` finds ``relu``.

Example:
    >>> from deqzoo import catalog
    >>> catalog.losses.names()
    ('cross_entropy', 'square')
    >>> catalog.solvers.get("anderson(history=6)").history
    6
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from deqzoo.recipe import CatalogError, Recipe, snake_case
from deqzoo.settings import quoted

if TYPE_CHECKING:
    from deqzoo.activation.contract import Activation
    from deqzoo.analysis.experiment import Experiment
    from deqzoo.core.adjoint import Adjoint
    from deqzoo.core.linear_solver import LinearSolver
    from deqzoo.core.regularizer import Regularizer
    from deqzoo.core.solver import Solver
    from deqzoo.data.loss import Loss
    from deqzoo.data.metric import Metric
    from deqzoo.data.task import Task
    from deqzoo.nn.model import Model
    from deqzoo.training.constraint import Constraint
    from deqzoo.training.optimizer import Optimizer
    from deqzoo.training.sink import Sink

_ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


@dataclass(frozen=True)
class Home:
    """Where a member lives: an importable ``module`` or ``module:object``, and who brought it."""

    target: str
    origin: str


@dataclass
class Catalog(Generic[T]):
    """The plug-ins of one kind, found by name.

    Args:
        kind: what a member is, in the singular ("activation").
        group: the catalog's name, in the plural; other packages add members through the entry-point
            group ``deqzoo.<group>``.
        package: the folder of the built-in members as a dotted package name.
        base: ``module:class`` that every member must derive from, or None.
    """

    kind: str
    group: str
    package: str
    base: str | None = None
    _registered: dict[str, type[T]] = field(default_factory=dict, repr=False)

    def names(self) -> tuple[str, ...]:
        """All names, sorted. Imports no member."""
        return tuple(sorted({*self._registered, *self._homes()}))

    def knows(self, name: str) -> bool:
        """Whether a member is called so, but for case and underscores."""
        return _folded(name) in {*map(_folded, self.names())}

    def load(self, name: str) -> type[T]:
        """The member itself, imported on first use.

        Raises:
            CatalogError: unknown name, two homes for one name, or a file that is not a valid
                member.
        """
        homes = self._homes()
        name = self._find(name, (*self._registered, *homes))
        if name in self._registered:
            return self._registered[name]
        home, *others = homes[name]
        if others:
            origins = " and ".join(each.origin for each in (home, *others))
            raise CatalogError(
                f"two homes for the {self.kind} {name!r}: {origins}; remove or rename one"
            )
        return self._import(name, home)

    def get(self, recipe: T | str, **context: Any) -> T:
        """Build a member from a recipe; a member is returned unchanged.

        Args:
            recipe: ``name`` or ``name(key=literal, ...)``.
            **context: further keyword arguments for the constructor, which a recipe cannot spell
                (random keys, shapes).

        Raises:
            CatalogError: the recipe, its name or its arguments do not fit, or it is neither a
                recipe nor a member.
        """
        if not isinstance(recipe, str):
            return self._require_member(recipe)
        parsed = Recipe.parse(recipe)
        member = self.load(parsed.name)
        clash = sorted(parsed.kwargs.keys() & context.keys())
        if clash:
            raise CatalogError(
                f"{clash[0]!r} is given twice: in the recipe {recipe!r} and outside it"
            )
        try:
            signature(member).bind(*parsed.args, **parsed.kwargs, **context)
        except TypeError as error:
            accepted = ", ".join(self.parameters(parsed.name)) or "no arguments"
            raise CatalogError(
                f"the {self.kind} recipe {recipe!r}: {error}; it takes {accepted}"
            ) from None
        try:
            return member(*parsed.args, **parsed.kwargs, **context)
        except CatalogError:
            raise  # a recipe inside this one says best what is wrong
        except (TypeError, ValueError, ArithmeticError) as error:
            raise CatalogError(f"the {self.kind} recipe {recipe!r}: {error}") from error

    def recipe_of(self, member: Any) -> str | None:
        """The shortest recipe that builds an equal member; None where no recipe does."""
        if not is_dataclass(member) or isinstance(member, type):
            return None
        try:
            recipe = str(Recipe.of(member))
            return recipe if self.get(recipe) == member else None
        except CatalogError:
            return None

    def parameters(self, name: str) -> tuple[str, ...]:
        """The arguments of a recipe as they are written: ``("history=5", "ridge=1e-10")``."""
        parameters = signature(self.load(name)).parameters.values()
        return tuple(p.name + _default(p) for p in parameters if p.kind is not p.VAR_KEYWORD)

    def register(self, member: Any = None, *, name: str | None = None) -> Any:
        """Add a member at run time; usable as a decorator.

        Running a notebook cell again replaces the member.

        Args:
            member: the class.
            name: its name; by default the class name in snake_case.

        Raises:
            CatalogError: the name belongs to another member, or the class is not of the catalog's
                kind.
        """
        if member is None:
            return lambda decorated: self.register(decorated, name=name)
        name = name or snake_case(member.__name__)
        self._require_kind(name, member, "register")
        previous = self._registered.get(name)
        if previous is not None and _full_name(previous) != _full_name(member):
            raise CatalogError(
                f"two homes for the {self.kind} {name!r}: {_full_name(previous)} and "
                f"{_full_name(member)}; give one another name"
            )
        if name in self._homes():
            origin = self._homes()[name][0].origin
            raise CatalogError(
                f"two homes for the {self.kind} {name!r}: {origin} and {_full_name(member)}; "
                "give yours another name"
            )
        self._registered[name] = member
        return member

    def _find(self, name: str, names: Sequence[str]) -> str:
        alike = [name] if name in names else [n for n in names if _folded(n) == _folded(name)]
        if len(alike) != 1:
            raise CatalogError(self._unknown(name))
        return alike[0]

    def _homes(self) -> dict[str, list[Home]]:
        homes: dict[str, list[Home]] = {}
        for name, home in (*self._folder(), *self._entry_points()):
            homes.setdefault(name, []).append(home)
        return homes

    def _folder(self) -> list[tuple[str, Home]]:
        folder = _ROOT.joinpath(*self.package.split("."))
        files = sorted(folder.glob("[!_]*.py")) if folder.is_dir() else []
        return [(file.stem, Home(f"{self.package}.{file.stem}", str(file))) for file in files]

    def _entry_points(self) -> list[tuple[str, Home]]:
        found = importlib.metadata.entry_points(group=f"deqzoo.{self.group}")
        unique = {
            (point.name, point.value): point for point in found
        }  # a checkout can be listed twice
        return [
            (point.name, Home(point.value, f"the package {point.dist.name if point.dist else '?'}"))
            for point in unique.values()
        ]

    def _import(self, name: str, home: Home) -> Any:
        module_name, _, attribute = home.target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise CatalogError(
                f"the {self.kind} {name!r} from {home.origin} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not attribute:
            self._require_own_file(module, home)
            attribute = self._only_name(name, module, home)
        try:
            member = getattr(module, attribute)
        except AttributeError:
            raise CatalogError(
                f"{home.origin} has no object {attribute!r} for the {self.kind} {name!r}"
            ) from None
        self._require_kind(name, member, home.origin)
        return member

    def _require_own_file(self, module: Any, home: Home) -> None:
        if Path(module.__file__).resolve() != Path(home.origin).resolve():
            raise CatalogError(
                f"another package owns the import name {self.package.split('.')[0]!r} "
                f"({module.__file__}); install deqzoo in a virtual environment of its own"
            )

    def _only_name(self, name: str, module: Any, home: Home) -> str:
        public = getattr(module, "__all__", ())
        if len(public) != 1:
            raise CatalogError(
                f"{home.origin}: a member's __all__ must hold exactly one public name, got "
                f"{list(public)}"
            )
        return public[0]

    def _base(self) -> type:
        if self.base is None:
            return object
        module, _, attribute = self.base.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def _require_kind(self, name: str, member: Any, origin: str) -> None:
        base = self._base()
        if base is not object and not (isinstance(member, type) and issubclass(member, base)):
            raise CatalogError(
                f"{origin}: {name!r} must be a class deriving from {base.__module__}."
                f"{base.__name__}, got {member!r}"
            )

    def _require_member(self, member: T) -> T:
        if isinstance(member, self._base()):
            return member
        raise CatalogError(
            f"expected {_article(self.kind)} {self.kind} or its recipe, got {quoted(member)}"
        )

    def _unknown(self, name: str) -> str:
        names = self.names()
        ending = (
            choices(name, names)
            if names
            else (f": there is no folder of {_article(self.kind)} {self.kind} at {self.package}")
        )
        return f"no {self.kind} is called {name!r}{ending}"


def choices(name: str, names: Sequence[str]) -> str:
    """How the message on an unknown name ends: the nearest one, and all there are."""
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} There are: {', '.join(names)}"


def signature(member: Any) -> inspect.Signature:
    """How a member is built: of a class its own ``__init__``, which a metaclass may hide."""
    if not isinstance(member, type):
        return inspect.signature(member)
    own = inspect.signature(member.__init__)
    return own.replace(parameters=list(own.parameters.values())[1:])


def import_plugin(module: str) -> None:
    """Import a module that registers plug-ins (``--plugin=module``).

    Raises:
        CatalogError: the module cannot be imported.
    """
    try:
        importlib.import_module(module)
    except Exception as error:
        raise CatalogError(
            f"cannot import the plug-in module {module!r}: {type(error).__name__}: {error}; "
            "it must be importable from the current folder or installed"
        ) from error


def _full_name(member: Any) -> str:
    return f"{member.__module__}.{member.__qualname__}"


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is parameter.empty:
        return ""
    is_member = is_dataclass(value) and not isinstance(value, type)
    return f"={(str(Recipe.of(value)) if is_member else value)!r}"


activations: Catalog[Activation] = Catalog(
    "activation", "activations", "activations", "deqzoo.activation.contract:Activation"
)
solvers: Catalog[Solver] = Catalog(
    "solver", "solvers", "deqzoo.core.solvers", "deqzoo.core.solver:Solver"
)
linear_solvers: Catalog[LinearSolver] = Catalog(
    "linear solver",
    "linear_solvers",
    "deqzoo.core.linear_solvers",
    "deqzoo.core.linear_solver:LinearSolver",
)
adjoints: Catalog[Adjoint] = Catalog(
    "adjoint", "adjoints", "deqzoo.core.adjoints", "deqzoo.core.adjoint:Adjoint"
)
regularizers: Catalog[Regularizer] = Catalog(
    "regularizer", "regularizers", "deqzoo.core.regularizers", "deqzoo.core.regularizer:Regularizer"
)
models: Catalog[Model] = Catalog("model", "models", "deqzoo.models", "deqzoo.nn.model:Model")
tasks: Catalog[Task] = Catalog("task", "tasks", "deqzoo.tasks", "deqzoo.data.task:Task")
losses: Catalog[Loss] = Catalog("loss", "losses", "deqzoo.data.losses", "deqzoo.data.loss:Loss")
metrics: Catalog[Metric] = Catalog(
    "metric", "metrics", "deqzoo.data.metrics", "deqzoo.data.metric:Metric"
)
optimizers: Catalog[Optimizer] = Catalog(
    "optimizer", "optimizers", "deqzoo.training.optimizers", "deqzoo.training.optimizer:Optimizer"
)
constraints: Catalog[Constraint] = Catalog(
    "constraint",
    "constraints",
    "deqzoo.training.constraints",
    "deqzoo.training.constraint:Constraint",
)
sinks: Catalog[Sink] = Catalog(
    "sink", "sinks", "deqzoo.training.sinks", "deqzoo.training.sink:Sink"
)
experiments: Catalog[Experiment] = Catalog(
    "experiment", "experiments", "deqzoo.experiments", "deqzoo.analysis.experiment:Experiment"
)
commands: Catalog[Any] = Catalog("command", "commands", "launch")

ALL: tuple[Catalog[Any], ...] = (
    activations,
    solvers,
    linear_solvers,
    adjoints,
    regularizers,
    models,
    tasks,
    losses,
    metrics,
    optimizers,
    constraints,
    sinks,
    experiments,
    commands,
)
