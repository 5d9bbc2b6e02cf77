"""A recipe is a constructor in one line: ``leaky_relu(negative_slope=0.2)``.

Its arguments are Python literals, never evaluated code.

Example:
    >>> from deqzoo.recipe import Recipe
    >>> Recipe.parse("elu(alpha=0.5)")
    Recipe(name='elu', args=(), kwargs={'alpha': 0.5})
    >>> str(Recipe("elu", kwargs={"alpha": 0.5}))
    'elu(alpha=0.5)'
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from dataclasses import dataclass, field
from typing import Any

from deqzoo.settings import quoted

_SHORTHAND = re.compile(r"(?P<name>\w+):(?P<argument>.*)", re.DOTALL)
# What Python's parser raises: the last two where an expression is nested too deeply.
_UNREADABLE = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


class CatalogError(ValueError):
    """A name, recipe or plug-in file that a catalog cannot use; the message says what to do."""


@dataclass(frozen=True)
class Recipe:
    """A parsed one-line constructor: a name and its literal arguments."""

    name: str
    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read ``name``, ``name(key=literal, ...)`` or the shorthand ``name:string``.

        Raises:
            CatalogError: the text is not of that form, or an argument is not a literal.
        """
        text = text.strip()
        shorthand = _SHORTHAND.fullmatch(text)
        if shorthand:
            return cls(shorthand["name"], (shorthand["argument"],))
        try:
            node = ast.parse(text, mode="eval").body
            if isinstance(node, ast.Name):
                return cls(node.id)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                args = tuple(ast.literal_eval(arg) for arg in node.args)
                kwargs = {str(key.arg): ast.literal_eval(key.value) for key in node.keywords}
                once = len(kwargs) == len(node.keywords)
                if once and "None" not in kwargs:  # `**mapping` has no literal name
                    return cls(node.func.id, args, kwargs)
        except _UNREADABLE:
            pass
        raise CatalogError(
            f"cannot read the recipe {quoted(text)}: expected name or name(key=literal, ...), "
            "for example leaky_relu(negative_slope=0.2)"
        )

    @classmethod
    def of(cls, member: Any) -> Recipe:
        """The shortest recipe of a frozen dataclass: its file's name and what is no default."""
        own = {each.name: (each, getattr(member, each.name)) for each in dataclasses.fields(member)}
        kwargs = {name: value for name, (each, value) in own.items() if value != each.default}
        return cls(name_of(type(member)), kwargs={k: _literal(v) for k, v in kwargs.items()})

    def __str__(self):
        keywords = (f"{name}={value!r}" for name, value in self.kwargs.items())
        arguments = ", ".join([*map(repr, self.args), *keywords])
        return f"{self.name}({arguments})" if arguments else self.name


def snake_case(name: str) -> str:
    """``LeakyReLU`` -> ``leaky_relu``: the file name that belongs to a class name."""
    # A word not behind a first letter alone (``PReLU``), or at least three capitals.
    starts = r"(?<!^)(?<!^[A-Z])(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z]{3})"
    return re.sub(starts, "_", name).lower()


def name_of(kind: type) -> str:
    """The file's name where it is a member's own, else that of the class."""
    public = getattr(sys.modules.get(kind.__module__), "__all__", ())
    own = list(public) == [kind.__name__]
    return kind.__module__.rpartition(".")[2] if own else snake_case(kind.__name__)


def _literal(value: Any) -> Any:
    return str(Recipe.of(value)) if dataclasses.is_dataclass(value) else value
