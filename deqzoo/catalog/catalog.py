"""The plug-ins of one kind."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Generic, TypeVar

from deqzoo.catalog.choices import choices
from deqzoo.catalog.homes import Home, homes, imported
from deqzoo.catalog.signature import signature, written
from deqzoo.recipe import CatalogError, Recipe, snake_case
from deqzoo.settings import quoted

T = TypeVar("T")


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
        return tuple(sorted({*self._registered, *self._homes}))

    def knows(self, name: str) -> bool:
        """Whether a member is called so, but for case and underscores."""
        return _folded(name) in {*map(_folded, self.names())}

    def load(self, name: str) -> type[T]:
        """The member itself, imported on first use.

        Raises:
            CatalogError: unknown name, two homes for one name, or a file that is not a valid
                member.
        """
        found = self._homes
        name = self._find(name, (*self._registered, *found))
        if name in self._registered:
            return self._registered[name]
        home, *others = found[name]
        if others:
            origins = " and ".join(each.origin for each in (home, *others))
            raise CatalogError(
                f"two homes for the {self.kind} {name!r}: {origins}; remove or rename one"
            )
        member = imported(home, f"{self.kind} {name!r}")
        self._require_kind(name, member, home.origin)
        return member

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
                f"{clash[0]!r} is given twice: in the recipe {quoted(recipe)} and outside it"
            )
        try:
            signature(member).bind(*parsed.args, **parsed.kwargs, **context)
        except TypeError as error:
            accepted = ", ".join(self.parameters(parsed.name)) or "no arguments"
            raise CatalogError(
                f"the {self.kind} recipe {quoted(recipe)}: {error}; it takes {accepted}"
            ) from None
        try:
            return member(*parsed.args, **parsed.kwargs, **context)
        except CatalogError:
            raise  # a recipe inside this one says best what is wrong
        except (TypeError, ValueError, ArithmeticError) as error:
            raise CatalogError(f"the {self.kind} recipe {quoted(recipe)}: {error}") from error

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
        return tuple(written(p) for p in parameters if p.kind is not p.VAR_KEYWORD)

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
        name = name or snake_case(getattr(member, "__name__", type(member).__name__))
        self._require_kind(name, member, "register")
        previous = self._registered.get(name)
        if previous is not None and _full_name(previous) != _full_name(member):
            raise CatalogError(
                f"two homes for the {self.kind} {name!r}: {_full_name(previous)} and "
                f"{_full_name(member)}; give one another name"
            )
        if name in self._homes:
            origin = self._homes[name][0].origin
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

    @property
    def _homes(self) -> dict[str, list[Home]]:
        return homes(self.package, self.group)

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


def _full_name(member: Any) -> str:
    return f"{member.__module__}.{member.__qualname__}"


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"
