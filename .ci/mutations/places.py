"""Where the code can be changed, and a fair draw of the changes."""

from __future__ import annotations

import ast
import random
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOMS = ("core", "theory", "storage", "training")
# A sign becomes one of its kind: most others end in a TypeError, which every test notices.
_KINDS = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitOr", "BitAnd", "BitXor"},
    {"RShift", "LShift"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"UAdd", "USub"},
)


class Mutation(NamedTuple):
    """One change of one file.

    Attributes:
        file: the file, from the root of the checkout.
        line: the line that changes.
        operator: the operator's name in cosmic-ray.
        occurrence: which of the places of the file that the operator can change.
    """

    file: str
    line: int
    operator: str
    occurrence: int

    def of(self, source: str) -> str:
        """The changed source."""
        return mutate_code(source, get_operator(self.operator)(), self.occurrence)


class _Deeds(ast.NodeTransformer):
    """What a program does, without annotations, words of errors and stars in signatures."""

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_arguments(self, node):
        node = self.generic_visit(node)
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
        node.posonlyargs = node.kwonlyargs = node.kw_defaults = []
        return node

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node):
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node


def draw(root: Path, count: int, seed: int) -> list[Mutation]:
    """``count`` mutations, every place as likely as another, one a line."""
    random_, drawn = random.Random(seed), {}
    places = list(_places(root))
    random_.shuffle(places)
    for changes in places:
        mutation = _meant(root, random_.sample(changes, len(changes)))
        if mutation:
            drawn.setdefault(mutation[:2], mutation)
        if len(drawn) == count:
            break
    return sorted(drawn.values())


def _places(root: Path) -> Iterator[list[Mutation]]:
    """The changes of every place."""
    for room in ROOMS:
        for path in sorted((root / "deqzoo" / room).rglob("*.py")):
            yield from _places_of(path.relative_to(root).as_posix(), path.read_text())


def _places_of(file: str, source: str) -> Iterator[list[Mutation]]:
    nodes, places = list(ast_nodes(get_ast(source))), defaultdict(list)
    for name in filter(_is_fair, operator_names()):
        operator = get_operator(name)()
        spans = (span for node in nodes for span in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(spans):
            places[start, end].append(Mutation(file, start[0], name, occurrence))
    yield from places.values()


def _is_fair(name: str) -> bool:
    before, after = ("", *name.split("_"))[-2:]
    kinds = [kind for kind in _KINDS if before in kind]
    return not get_operator(name).arguments() and all(after in kind for kind in kinds)


def _meant(root: Path, changes: list[Mutation]) -> Mutation | None:
    """The first change that makes another program."""
    source = (root / changes[0].file).read_text()
    others = ("", _program(source))
    return next((each for each in changes if _program(each.of(source)) not in others), None)


def _program(source: str) -> str:
    """What the interpreter is told to do; nothing where it complains already."""
    try:
        with warnings.catch_warnings(action="error"):
            compile(source, "a mutation", "exec")
    except (SyntaxError, SyntaxWarning):
        return ""
    return ast.dump(_Deeds().visit(ast.parse(source)))
