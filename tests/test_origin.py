"""A start of zeros has the image that it always had, and costs the products of one example."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.core.map import origin
from deqzoo.core.map.program import Program
from deqzoo.testing.subject import Subject

BATCH = 6
EPS = np.finfo(np.float32).eps


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


W, B = draw(5, 5) / 3, draw(BATCH, 5, seed=1)
K, PIXELS = draw(3, 3, 4, 4) / 6, draw(BATCH, 7, 7, 4, seed=2)


def convolved(z, layout=("NHWC", "HWIO", "NHWC")):
    return jax.lax.conv_general_dilated(z, K, (1, 1), "SAME", dimension_numbers=layout)


def normed(z):
    rows = z.reshape(BATCH, 49, 2, 2)
    mean = jnp.mean(rows, (1, 3), keepdims=True)
    return ((rows - mean) / jnp.sqrt(jnp.var(rows, (1, 3), keepdims=True) + 1)).reshape(z.shape)


FLAT = {
    "wide": lambda z: jax.nn.gelu(z @ W + B),
    "from the left": lambda z: jnp.einsum("ij,bj->ib", W, jnp.sin(z) + 1).T * B,
    "two examples in one product": lambda z: jax.nn.softmax(z @ z.T @ B),
    "a loop": lambda z: jax.lax.fori_loop(0, 3, lambda _, z: jnp.tanh(z @ W), z + 1) + B,
    "a batched product": lambda z: jnp.einsum("bi,bij->bj", z + 1, B[:, :, None] * W[None]) + z,
    "groups before the batch": lambda z: (
        jnp.sin(jnp.matmul(jnp.cos(z)[:, :, None].transpose(1, 0, 2), W[:, None, :3]))
        .transpose(1, 0, 2)
        .reshape(BATCH, 15)
        @ jnp.tile(W, (3, 1))
        + B
    ),
    "blind to examples": lambda z: jnp.cos(z @ W),
    "mean over the batch": lambda z: z @ W + jnp.mean(z + 1, 0, keepdims=True) + B,
}
IMAGES = {
    "convolutions": lambda z: jax.nn.relu(z + normed(PIXELS + convolved(normed(convolved(z))))),
    "another layout": lambda z: convolved(z.transpose(3, 1, 2, 0), ("CHWN", "HWIO", "NCHW"))
    .transpose(0, 2, 3, 1) * PIXELS,
}  # fmt: skip
CASES = [(name, fn, (BATCH, 5)) for name, fn in FLAT.items()]
CASES += [(name, fn, (BATCH, 7, 7, 4)) for name, fn in IMAGES.items()]


@pytest.mark.parametrize("start", [0.0, 0.5])
@pytest.mark.parametrize(("name", "fn", "shape"), CASES, ids=[name for name, *_ in CASES])
def test_the_image_is_that_of_the_map(name, fn, shape, start):
    z = jnp.full(shape, start)
    program = Program.trace(fn, z)
    # A tail of gelu is what remains of numbers of size one.
    np.testing.assert_allclose(program.start(z), fn(z), rtol=1e-6, atol=8 * EPS)


def test_zeros_have_the_same_bits_whatever_they_are_multiplied_with():
    z = jnp.zeros((BATCH, 5))
    fn = jax.jit(FLAT["wide"])
    assert Program.trace(fn, z).start(z).tobytes() == fn(z).tobytes()


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_weights_that_are_not_finite_are_not_hidden_by_zeros(bad):
    z, weights = jnp.zeros((BATCH, 5)), W.at[2, 3].set(bad)
    found = Program.trace(lambda z: z @ weights, z).start(z)
    assert np.isnan(found[:, 3]).all()
    assert np.isfinite(np.delete(found, 3, axis=1)).all()


def test_a_tree_of_leaves_is_zero_only_if_all_of_them_are():
    fn = lambda z: {"a": z["b"] @ W, "b": z["a"] + B}  # noqa: E731
    for b in (jnp.zeros((BATCH, 5)), B):
        z = {"a": jnp.zeros((BATCH, 5)), "b": b}
        found, expected = Program.trace(fn, z).start(z), fn(z)
        np.testing.assert_allclose(found["a"], expected["a"], rtol=1e-6)
        np.testing.assert_allclose(found["b"], expected["b"])


@pytest.fixture
def optimised():
    """Programs are compiled as a user's are."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def products_of_all_examples(fn):
    """How many products of the whole batch the compiled function has outside of loops."""
    program = jax.jit(fn).lower(W, B).compile().as_text()
    entry = program[program.index("\nENTRY") :]
    return len(re.findall(rf"= f32\[{BATCH},5\]\S* [\w-]+\([^\n]*/dot_general\"", entry))


def in_groups(z):
    return jnp.sum(z.reshape(BATCH, 1, 5), axis=1)


@pytest.mark.parametrize("form", [jnp.positive, in_groups], ids=["flat", "in groups"])
@pytest.mark.parametrize("solver", ["auto", "picard", "anderson"])
def test_a_solve_from_zeros_has_no_product_of_all_examples_before_its_loop(solver, form, optimised):
    fn = lambda z, args: jax.nn.relu(form(z) @ args[0] + args[1])  # noqa: E731
    root = lambda W, b: deqzoo.fixed_point(fn, jnp.zeros_like(b), (W, b), solver=solver).value  # noqa: E731
    assert products_of_all_examples(lambda W, b: fn(jnp.zeros_like(b), (W, b))) == 1
    assert products_of_all_examples(root) == 0


def test_the_start_of_a_solve_may_be_known_when_it_runs_only():
    fn = lambda z, args: jnp.tanh(z @ args[0] + args[1])  # noqa: E731
    root = jax.jit(lambda z0: deqzoo.fixed_point(fn, z0, (W, B), solver="picard").value)
    np.testing.assert_allclose(root(jnp.zeros_like(B)), root(B), atol=1e-4)


@pytest.mark.slow
def test_under_vmap_and_grad():
    fn = lambda z, args: jnp.tanh(z @ args[0] + args[1])  # noqa: E731
    root = lambda W: deqzoo.fixed_point(fn, jnp.zeros_like(B), (W, B)).value.sum()  # noqa: E731
    weights = jnp.stack([W, -W])
    alone = [jax.grad(root)(each) for each in weights]
    np.testing.assert_allclose(jax.vmap(jax.grad(root))(weights), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.quick("classifier", "convdeq", "ignn", "mondeq")
@pytest.mark.parametrize("name", catalog.models.names())
def test_every_model_of_the_zoo_starts_where_its_cell_says(name):
    subject = Subject.of(name)
    model = subject.build()
    x = model.injection(jax.tree.map(lambda a: a[:BATCH], subject.x))
    fn, z = model.deq.map(x), model.deq.cell.start(x)
    program = Program.trace(fn, z)
    for found, expected in zip(
        jax.tree.leaves(program.start(z)), jax.tree.leaves(fn(z)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_one_example_is_evaluated_as_it_is():
    z = jnp.zeros((1, 5))
    closed = jax.make_jaxpr(lambda z: z @ W)(z)
    trace = jax.make_jaxpr(lambda z: origin.image(closed, [z]))(z)
    assert "cond" not in {eqn.primitive.name for eqn in trace.jaxpr.eqns}
