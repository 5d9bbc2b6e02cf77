"""The recipes of the documentation run, and their gradients are those of plain unrolling."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "recipes.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FRAMEWORKS = ("plain", "nnx", "linen", "equinox")


def run(block):
    names = {"__name__": "recipe"}
    with jax.numpy_rank_promotion("allow"):  # nn.Dense adds its bias so
        exec(compile(block, "recipes.md", "exec"), names)
    return names


@pytest.mark.quick("block1", "block2", "block4", "block5", "block6")
@pytest.mark.parametrize("block", BLOCKS[len(FRAMEWORKS) :])
def test_a_recipe_runs(block, capsys):
    run(block)
    assert "nan" not in capsys.readouterr().out.split("[[")[0]


@pytest.mark.parametrize(("framework", "block"), list(zip(FRAMEWORKS, BLOCKS, strict=False)))
def test_the_gradient_in_every_framework_is_finite_and_not_zero(framework, block):
    gradient = run(block)["gradient"]
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    assert np.any(leaves[0] != 0)


def unrolled(cell, z):
    for _ in range(60):
        z = cell(z)
    return z


@pytest.mark.slow
def test_the_gradients_are_those_of_unrolling():
    with jax.numpy_rank_promotion("allow"):
        linen = run(BLOCKS[2])
        x, fn = linen["x"], linen["fn"]
        plain = jax.grad(
            lambda p: jnp.sum(unrolled(lambda z: fn(z, (p, x)), jnp.zeros_like(x)) ** 2)
        )(linen["params"])
        for a, b in zip(jax.tree.leaves(linen["gradient"]), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        equinox = run(BLOCKS[3])
        module, x = equinox["linear"], equinox["x"]
        step = lambda m, z: jnp.tanh(0.3 * (z @ m.weight.T + m.bias) + x)  # noqa: E731
        plain = jax.grad(
            lambda m: jnp.sum(unrolled(lambda z: step(m, z), jnp.zeros_like(x)) ** 2),
            allow_int=True,
        )(module)
        for a, b in zip(jax.tree.leaves(equinox["gradient"]), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
