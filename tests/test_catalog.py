"""Plug-ins are found by name, whoever brings them, and a mistake says what to do."""

import json
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.catalog import Catalog, CatalogError, Recipe

ROOT = Path(deqzoo.__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _registrations_end_with_the_test(monkeypatch):
    monkeypatch.setattr(catalog.activations, "_registered", {})


def run_python(code, *path):
    """The last line that a fresh interpreter prints, read as JSON."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())


# Recipes.


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("relu", Recipe("relu")),
        (" relu ", Recipe("relu")),
        ("relu()", Recipe("relu")),
        ("leaky_relu(0.2)", Recipe("leaky_relu", (0.2,))),
        (
            "a(b=-1e-3, c='x', d=None, e=(1, 2))",
            Recipe("a", (), dict(b=-1e-3, c="x", d=None, e=(1, 2))),
        ),
        ("a(b='inner(c=1)')", Recipe("a", (), {"b": "inner(c=1)"})),
        ("mnist:/data, here", Recipe("mnist", ("/data, here",))),
    ],
)
def test_recipes(text, recipe):
    assert Recipe.parse(text) == recipe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a(b=1",
        "a.b",
        "a(b=1)(c=2)",
        "a(b=1, b=2)",
        "a(**{'b': 1})",
        "a(b=c)",
        "a(b=1 + len('c'))",
        "a(b=__import__('os').getcwd())",
        "(lambda: 1)()",
        "a; import os",
    ],
)
def test_what_is_not_a_recipe_is_refused(text):
    with pytest.raises(CatalogError, match="cannot read the recipe"):
        Recipe.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "relu({[]: 1})",
        "relu({[1]})",
        "relu(" + "-" * 20_000 + "1)",
        "relu(" + "1+" * 5_000 + "1)",
        "relu(" + "(" * 5_000 + "1" + ")" * 5_000 + ")",
        "relu(" + "9" * 5_000 + ")",
        "relu(\0)",
        "relu(\n\n",
    ],
    ids=["key", "item", "signs", "sum", "parentheses", "digits", "null", "lines"],
)
def test_a_recipe_that_cannot_be_parsed_is_refused_in_one_line(text):
    with pytest.raises(CatalogError, match="cannot read the recipe") as refusal:
        activations.get(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "room",
    [each for each in catalog.ALL if each.package.startswith("deqzoo.core")],
    ids=lambda room: room.group,
)
def test_a_member_has_a_recipe_that_builds_it(room):
    for name in room.names():
        member = room.get(name)
        assert str(Recipe.of(member)) == name
        written = f"{name}({', '.join(room.parameters(name))})"
        assert room.get(written) == member


@pytest.mark.parametrize(
    "recipe",
    ["anderson(history=9)", "auto(rtol=0.001, first='picard(rtol=0.001, damping=0.5)')"],
)
def test_a_recipe_says_what_is_no_default(recipe):
    member = catalog.solvers.get(recipe)
    shortest = str(Recipe.of(member))
    assert catalog.solvers.get(shortest) == member
    assert shortest.count("history") == recipe.count("history")
    assert "max_steps" not in shortest


def test_a_recipe_is_never_evaluated(tmp_path):
    trap = tmp_path / "trap"
    for text in (f"open({str(trap)!r}, 'w')", f"elu(alpha=open({str(trap)!r}, 'w'))"):
        with pytest.raises(CatalogError):
            activations.get(text)
    assert not trap.exists()


def test_building_from_a_recipe():
    assert activations.get("leaky_relu(negative_slope=0.2)").slope == (0.2, 1.0)
    assert activations.get("leaky_relu(0.2)") == activations.get("leaky_relu(negative_slope=0.2)")
    assert activations.get("elu") == activations.get("elu(alpha=1.0)")


def test_a_member_is_returned_unchanged_and_anything_else_is_refused():
    act = activations.get("tanh")
    assert activations.get(act) is act
    for other in (None, 3, jnp.tanh, type(act), catalog.solvers.get("picard")):
        with pytest.raises(CatalogError, match="expected an activation or its recipe, got "):
            activations.get(other)


@pytest.mark.parametrize(
    ("written", "name"),
    [("ReLU", "relu"), ("GELU_Tanh", "gelu_tanh"), ("LeakyReLU(negative_slope=0.2)", "leaky_relu")],
)
def test_case_and_underscores_are_forgiven(written, name):
    assert type(activations.get(written)) is activations.get(name).__class__


def test_every_catalog_forgives_case_and_underscores():
    for room in catalog.ALL:
        for name in room.names():
            assert room.load(name.replace("_", "").upper()) is room.load(name)
            assert room.knows(name.title())


def test_what_is_forgiven_must_leave_one_name():
    activations.register(make("Re_Lu"), name="re_lu")
    assert type(activations.get("relu")).__name__ == "ReLU"
    assert type(activations.get("re_lu")).__name__ == "Re_Lu"
    with pytest.raises(CatalogError, match="no activation is called 'ReLU'; did you mean 'relu'"):
        activations.get("ReLU")


@pytest.mark.parametrize(
    ("recipe", "advice"),
    [
        ("gleu", "no activation is called 'gleu'; did you mean 'gelu'? There are: absolute, "),
        ("GLEU", "no activation is called 'GLEU'; did you mean 'gelu'? There are: absolute, "),
        ("xyzzy", "no activation is called 'xyzzy'. There are: absolute, "),
        ("__import__('os')", "no activation is called '__import__'"),
        ("elu(beta=1)", "unexpected keyword argument 'beta'; it takes alpha=1.0"),
        ("relu(1)", "too many positional arguments; it takes no arguments"),
        (
            "elu(alpha=-1)",
            "recipe 'elu(alpha=-1)': alpha must be a finite number > 0",
        ),
    ],
)
def test_a_mistake_is_answered_with_advice(recipe, advice):
    with pytest.raises(CatalogError, match=re.escape(advice)):
        activations.get(recipe)


def test_context_completes_a_recipe_and_must_not_repeat_it():
    assert catalog.activations.get("elu", alpha=2.0).alpha == 2.0
    with pytest.raises(CatalogError, match="'alpha' is given twice"):
        catalog.activations.get("elu(alpha=1.0)", alpha=2.0)


def test_parameters_are_shown_as_they_are_written():
    assert catalog.activations.parameters("squareplus") == ("b=4.0",)
    assert catalog.activations.parameters("relu") == ()


# The built-in folders.


def test_names_are_the_files_of_the_folder():
    files = {file.stem for file in (ROOT / "activations").glob("*.py")} - {"__init__"}
    assert files <= set(activations.names())
    assert list(activations.names()) == sorted(activations.names())


def test_listing_names_imports_no_member():
    loaded = run_python(
        """
        import json, sys
        import activations
        from deqzoo import catalog
        before = set(sys.modules)  # the defaults of fixed_point
        members = {f"{c.package}.{name}" for c in catalog.ALL for name in c.names()}
        print(json.dumps(sorted(members & set(sys.modules) - before)))
        """
    )
    assert loaded == []


@pytest.mark.parametrize("kind", catalog.ALL, ids=lambda kind: kind.group)
def test_every_member_loads(kind):
    for name in kind.names():
        assert callable(kind.load(name))


@pytest.mark.parametrize("name", activations.names())
def test_a_file_is_called_like_its_class(name):
    assert catalog.snake_case(catalog.activations.load(name).__name__) == name


# A folder of plug-ins of one's own.


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """A catalog over an empty package in a temporary folder."""
    write(tmp_path / "plants" / "__init__.py", "")
    monkeypatch.setattr(catalog.homes, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield Catalog("plant", "plants", "plants")
    for module in [name for name in sys.modules if name.partition(".")[0] == "plants"]:
        del sys.modules[module]


def test_a_file_dropped_into_the_folder_is_a_member(plants, tmp_path):
    assert plants.names() == ()
    write(tmp_path / "plants" / "_shared.py", "not = Python")
    write(
        tmp_path / "plants" / "fern.py",
        """
        __all__ = ["Fern"]
        hidden = 1
        class Fern:
            def __init__(self, leaves=3):
                self.leaves = leaves
        """,
    )
    assert plants.names() == ("fern",)
    assert plants.get("fern(leaves=5)").leaves == 5


@pytest.mark.parametrize("public", ["['Fern', 'fern']", "[]"])
def test_a_member_has_exactly_one_public_name(plants, tmp_path, public):
    write(tmp_path / "plants" / "fern.py", f"__all__ = {public}\nclass Fern: ...\nfern = Fern()\n")
    with pytest.raises(CatalogError, match="must hold exactly one public name, got "):
        plants.load("fern")


def test_a_broken_file_fails_only_when_loaded(plants, tmp_path):
    write(tmp_path / "plants" / "fern.py", "import no_such_package_anywhere\n")
    assert plants.names() == ("fern",)
    with pytest.raises(CatalogError, match="fern.py cannot be imported: ModuleNotFoundError"):
        plants.load("fern")


def test_a_public_name_must_exist(plants, tmp_path):
    write(tmp_path / "plants" / "fern.py", "__all__ = ['Fern']\n")
    with pytest.raises(CatalogError, match="has no object 'Fern' for the plant 'fern'"):
        plants.load("fern")


def test_a_member_must_be_of_the_kind(plants, tmp_path):
    write(tmp_path / "plants" / "fern.py", "__all__ = ['Fern']\nclass Fern: ...\n")
    plants.base = "deqzoo.activation.contract:Activation"
    with pytest.raises(CatalogError, match="must be a class deriving from deqzoo.activation"):
        plants.load("fern")


def test_a_foreign_package_of_the_same_name_is_noticed(plants, tmp_path, monkeypatch):
    write(tmp_path / "elsewhere" / "plants" / "__init__.py", "")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        write(folder / "plants" / "fern.py", "__all__ = ['Fern']\nclass Fern: ...\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    with pytest.raises(CatalogError, match="another package owns the import name 'plants'"):
        plants.load("fern")


def test_an_empty_kind_says_so(plants):
    with pytest.raises(CatalogError, match="no plant is called 'fern'"):
        plants.get("fern")


# Registration at run time.


def make(name="Halved", factor=0.5):
    """A class as a notebook cell would define it."""

    @dataclass(frozen=True)
    class Made(Activation):
        slope = (0.0, factor)
        curvature = 4 * factor / (3 * 3**0.5)

        def __call__(self, x):
            return factor * jnp.tanh(x)

    Made.__name__ = Made.__qualname__ = name
    return Made


def test_registering_makes_a_member_for_every_use():
    member = activations.register(make("HalvedTanh"))
    assert "halved_tanh" in activations.names()
    act = activations.get("halved_tanh")
    assert type(act) is member
    assert activations.check("halved_tanh").wrong == ()
    x = jnp.ones((2, 3))
    solution = deqzoo.fixed_point(lambda z, x: act(z + x), jnp.zeros((2, 3)), x)
    np.testing.assert_allclose(solution.value, act(solution.value + x), atol=1e-5)


def test_registering_as_a_decorator_with_or_without_a_name():
    @activations.register
    class FirstOne(make()):
        pass

    @activations.register(name="second")
    class Another(make()):
        pass

    assert type(activations.get("first_one")) is FirstOne
    assert type(activations.get("second")) is Another


def test_running_a_notebook_cell_again_replaces_the_member():
    activations.register(make(factor=0.5))
    activations.register(make(factor=0.25))
    assert activations.get("halved").slope == (0.0, 0.25)


def test_one_name_has_one_home():
    activations.register(make("First"), name="mine")
    with pytest.raises(
        CatalogError, match=r"two homes for the activation 'mine': .*First and .*Second"
    ):
        activations.register(make("Second"), name="mine")
    with pytest.raises(
        CatalogError, match=r"two homes for the activation 'gelu': .*gelu.py and .*GELU"
    ):
        activations.register(make("GELU"))
    assert activations.get("gelu").slope[1] > 1.1


@pytest.mark.parametrize("member", [int, jnp.tanh, "tanh"])
def test_only_activations_can_be_registered(member):
    with pytest.raises(CatalogError, match="must be a class deriving from deqzoo.activation"):
        activations.register(member, name="mine")


def test_an_instance_is_not_registered_in_the_place_of_its_class():
    with pytest.raises(CatalogError, match="must be a class deriving from deqzoo.activation"):
        activations.register(activations.get("relu"))


def test_a_plugin_module_registers_itself(tmp_path, monkeypatch):
    write(
        tmp_path / "plugin_of_a_test.py",
        """
        import activations
        from activations.tanh import Tanh

        @activations.register
        class TwinTanh(Tanh):
            pass
        """,
    )
    monkeypatch.syspath_prepend(tmp_path)
    catalog.import_plugin("plugin_of_a_test")
    monkeypatch.delitem(sys.modules, "plugin_of_a_test")
    assert activations.get("twin_tanh").slope == (0.0, 1.0)
    with pytest.raises(CatalogError, match="cannot import the plug-in module 'no_such_plugin'"):
        catalog.import_plugin("no_such_plugin")


# Another package.


PYPROJECT = """
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"

    [project]
    name = "deqzoo-garden"
    version = "1.0"

    [project.entry-points."deqzoo.activations"]
    doubled_arctan = "garden:DoubledArctan"
    broken = "garden.broken:Broken"
    absent = "garden:Absent"
    relu = "garden:DoubledArctan"

    [tool.hatch.build.targets.wheel]
    packages = ["garden"]
"""
GARDEN = """
    from dataclasses import dataclass
    import jax.numpy as jnp
    from deqzoo import Activation

    @dataclass(frozen=True)
    class DoubledArctan(Activation):
        slope = (0.0, 2.0)
        curvature = 3 * 3**0.5 / 4

        def __call__(self, x):
            return 2 * jnp.arctan(x)
"""


def test_an_installed_package_adds_members(tmp_path):
    pytest.importorskip("pip")
    write(tmp_path / "source" / "pyproject.toml", PYPROJECT)
    write(tmp_path / "source" / "garden" / "__init__.py", GARDEN)
    write(tmp_path / "source" / "garden" / "broken.py", "raise RuntimeError('no sun')\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    place = ["--no-build-isolation", "--target", tmp_path / "site", tmp_path / "source"]
    subprocess.run([*pip, *place], check=True, capture_output=True)

    found = run_python(
        """
        import json
        import activations

        def message(name):
            try:
                activations.get(name)
            except ValueError as error:
                return str(error)

        names = set(activations.names())
        new = ("doubled_arctan", "broken", "absent")
        print(json.dumps({
            "listed": [name in names for name in new],
            "facts": len(activations.check("doubled_arctan").facts),
            "built in": activations.get("tanh").lipschitz,
            **{name: message(name) for name in ("broken", "absent", "relu")},
        }))
        """,
        tmp_path / "site",
    )
    assert found["listed"] == [True, True, True]
    assert found["facts"] > 10
    assert found["built in"] == 1.0
    assert (
        "from the package deqzoo-garden cannot be imported: RuntimeError: no sun" in found["broken"]
    )
    assert "the package deqzoo-garden has no object 'Absent'" in found["absent"]
    assert re.search(
        r"two homes for the activation 'relu': .*relu.py and .*deqzoo-garden", found["relu"]
    )
