"""The house stands: imports point down, siblings do not know each other, one file has one name."""

import ast
import graphlib
from pathlib import Path

import pytest

from deqzoo import catalog

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (
    "catalog convolution exported gaussian interpreter kernels quadrature rows shards solution "
    "spectral trees",
    "data origin",
    "program scaling validation",
    "activation solver task",
    "precision stopping",
    "loop",
    "adjoint jacobian linear_solver regularizer",
    "inner krylov split",
    "newton",
    "adjoints check linear_solvers regularizers solvers",
    "fixed_point",
    "theory",
    "nn",
    "models tasks",
    "training",
    "analysis experiment experiments",
)
LEVEL = {f"deqzoo.{name}": level for level, names in enumerate(FLOORS) for name in names.split()}
TOP = len(FLOORS)  # launch, and the package itself with its short names
FIRST = {
    "flax": "nn",
    "optax": "training",
    "orbax": "training",
    "grain": "training",
    "matplotlib": "analysis",
}
FROM_FLOOR = {library: LEVEL[f"deqzoo.{room}"] for library, room in FIRST.items()}
FROM_FLOOR |= {"absl": TOP, "rich": TOP}
ONLY_IN = {"orbax": "deqzoo.training.checkpoint", "grain": "deqzoo.training.grain_batches"}


def modules():
    """Full name -> file of everything in the wheel."""
    files = (f for top in ("deqzoo", "activations", "launch") for f in (ROOT / top).rglob("*.py"))
    return {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
        for f in sorted(files)
    }


MODULES = modules()


def imports(module):
    """Full names of the modules that a module imports, wherever in its code."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


def level(module):
    return LEVEL.get(".".join(module.split(".")[:2]), TOP)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    top, *rest = module.split(".")
    assert top != "deqzoo" or not rest or level(module) < TOP, "give the new room a floor"
    assert not {*rest} & {"utils", "helpers", "manager", "factory"}
    for other in imports(module):
        library = other.split(".")[0]
        if top == "deqzoo":
            assert library not in ("activations", "launch")
            assert level(module) >= FROM_FLOOR.get(library, 0)
        if library == "deqzoo":
            assert level(other) <= level(module)
        if library in ONLY_IN:
            assert module == ONLY_IN[library]


@pytest.mark.parametrize("room", catalog.ALL, ids=lambda room: room.group)
def test_a_member_is_one_file_with_one_name_that_knows_no_sibling(room):
    members = {f"{room.package}.{name}" for name in room.names()} & {*MODULES}
    for member in members:
        assert not members & {*imports(member)}, member
        ours = {other for other in imports(member) if other.startswith("deqzoo")}
        assert room.group != "activations" or ours <= {"deqzoo.activation", "deqzoo.gaussian"}
        source = ast.parse(MODULES[member].read_text())
        public = [n.value for n in source.body if ast.unparse(n).startswith("__all__ =")]
        assert [len(ast.literal_eval(names)) for names in public] == [1], member


def test_imports_have_no_cycle():
    inside = {module: {*imports(module)} & {*MODULES} - {module} for module in MODULES}
    graphlib.TopologicalSorter(inside).prepare()
