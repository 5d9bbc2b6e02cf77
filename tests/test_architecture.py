"""The house stands: arrows point down, siblings do not know each other, one file has one name."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

from deqzoo import catalog
from deqzoo.catalog import CatalogError, Recipe

ROOT = Path(__file__).resolve().parent.parent
FLOORS = re.search(r"```floors\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
assert FLOORS
ROOMS = [line.split() for line in reversed(FLOORS[1].splitlines())]
LEVEL = {f"deqzoo.{room}": level for level, rooms in enumerate(ROOMS) for room in rooms}
TOP = len(ROOMS)  # launch, and the package itself with its short names
FIRST = {
    "flax": "nn",
    "optax": "data",
    "orbax": "storage",
    "grain": "training",
    "matplotlib": "analysis",
}
FROM_FLOOR = {library: LEVEL[f"deqzoo.{room}"] for library, room in FIRST.items()}
FROM_FLOOR |= {"absl": TOP, "rich": TOP}
ONLY_IN = {"orbax": "deqzoo.storage.checkpoint", "grain": "deqzoo.training.grain_batches"}


def modules():
    """Full name -> file of everything in the wheel."""
    files = (f for top in ("deqzoo", "activations", "launch") for f in (ROOT / top).rglob("*.py"))
    return {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
        for f in sorted(files)
    }


MODULES = modules()
TREES = {module: ast.parse(file.read_text()) for module, file in MODULES.items()}


def room_of(module):
    return ".".join(module.split(".")[:2])


def level(module):
    return LEVEL.get(room_of(module), TOP)


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node):
    """The nodes that run; what is imported for type checkers alone draws no arrow."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield from walk(child)


def imports(module):
    """Full names of the modules that a module imports, wherever in its code."""
    for node in walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


def recipes(module):
    """(catalog, text) of every literal recipe: in ``catalog.<group>.get``, and by name or type."""
    kinds = {room.kind.replace(" ", "_"): room for room in catalog.ALL}
    bases = {room.base.rpartition(":")[2]: room for room in catalog.ALL if room.base}
    groups = {room.group: room for room in catalog.ALL}
    for node in walk(TREES[module]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")
            if called[0] == "catalog" and called[-1] in ("get", "load"):
                yield from ((groups[called[1]], argument) for argument in node.args[:1])
            named = ((key.arg, key.value) for key in node.keywords)
        elif isinstance(node, ast.arguments):
            given = [*node.posonlyargs, *node.args]
            named = [
                *zip((a.arg for a in given[len(given) - len(node.defaults) :]), node.defaults),  # noqa: B905
                *((a.arg, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d),
            ]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            typed = [bases[b] for b in ast.unparse(node.annotation).split(" | ") if b in bases]
            name = typed[0].kind.replace(" ", "_") if typed else node.target.id
            named = [(name, node.value)] if node.value else []
        else:
            continue
        yield from ((kinds[name], value) for name, value in named if name in kinds)


def members_named(module):
    """Full names of the members that a module names in a string."""
    for room, node in recipes(module):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        try:
            name = Recipe.parse(node.value).name
        except CatalogError:
            continue
        member = f"{room.package}.{name}"
        if member in MODULES:
            yield member


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module):
    top, *rest = module.split(".")
    assert top != "deqzoo" or not rest or level(module) < TOP, "give the new room a floor"
    assert not {*rest} & {"utils", "helpers", "manager", "factory"}
    for other in imports(module):
        library = other.split(".")[0]
        if top == "deqzoo":
            assert library not in ("activations", "launch")
            assert level(module) >= FROM_FLOOR.get(library, 0)
        if library == "deqzoo":
            inside = room_of(other) == room_of(module) or level(module) == TOP
            assert level(other) < level(module) or inside
        if library in ONLY_IN:
            assert module == ONLY_IN[library]


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("deqzoo.")])
def test_a_string_that_names_a_member_is_an_arrow_too(module):
    for member in members_named(module):
        if member.startswith("deqzoo."):
            assert level(member) < level(module), f"{module} names {member}; import it"


@pytest.mark.parametrize("room", catalog.ALL, ids=lambda room: room.group)
def test_a_member_is_one_file_with_one_name(room):
    members = {f"{room.package}.{name}" for name in room.names()} & {*MODULES}
    for member in members:
        if not member.startswith("deqzoo.core"):  # there, who needs another imports it
            assert not members & {*imports(member)}, member
        ours = {other for other in imports(member) if other.startswith("deqzoo")}
        contract = ("deqzoo.activation", "deqzoo.settings")
        assert room.group != "activations" or all(o.startswith(contract) for o in ours)
        public = [n.value for n in TREES[member].body if ast.unparse(n).startswith("__all__ =")]
        assert [len(ast.literal_eval(names)) for names in public] == [1], member


def test_imports_have_no_cycle():
    inside = {module: {*imports(module)} & {*MODULES} - {module} for module in MODULES}
    graphlib.TopologicalSorter(inside).prepare()
