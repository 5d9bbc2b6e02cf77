"""Arithmetic on batched pytrees: every example by itself, in honest precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo.core import trees

FLOATS = ("bfloat16", "float16", "float32", "float64")


def state(dtype=jnp.float32, batch=3):
    """Leaves of rank 1, 2 and 4."""
    rng = np.random.default_rng(0)
    shapes = {"number": (batch,), "row": (batch, 5), "image": (batch, 2, 3, 4)}
    return {
        name: jnp.asarray(rng.standard_normal(shape).astype(jnp.dtype(dtype)))
        for name, shape in shapes.items()
    }


def example(tree, i):
    """All numbers of example i, in the order of the leaves."""
    leaves = (np.asarray(leaf[i], np.float64) for leaf in jax.tree.leaves(tree))
    return np.concatenate([leaf.ravel() for leaf in leaves])


def test_batch_size_is_the_length_of_axis_0():
    assert trees.batch_size(state(batch=7)) == 7
    assert trees.batch_size(jnp.zeros((0, 2))) == 0


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "no array"),
        (jnp.zeros(()), r"the state is a scalar: .*z0\[None\]"),
        ({"u": jnp.zeros(3), "v": jnp.zeros(())}, r"\['v'\] is a scalar"),
        ((jnp.zeros((3, 1)), jnp.zeros((4, 1))), r"\[0\]: \(3, 1\), \[1\]: \(4, 1\)"),
    ],
)
def test_a_state_without_a_common_batch_axis_is_refused(tree, message):
    with pytest.raises(ValueError, match=message):
        trees.batch_size(tree)


@pytest.mark.parametrize("dtype", FLOATS)
def test_norm_is_the_euclidean_norm_over_all_leaves(x64, dtype):
    tree = state(dtype)
    norms = jax.jit(trees.norm)(tree)
    assert norms.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
    expected = [np.linalg.norm(example(tree, i)) for i in range(3)]
    np.testing.assert_allclose(norms, expected, rtol=1e-14 if dtype == "float64" else 1e-6)


def test_norm_of_a_half_precision_state_is_summed_in_float32():
    # bfloat16 cannot count beyond 256, nor can float16 square 300.
    assert jax.jit(trees.norm)(jnp.ones((1, 4096), jnp.bfloat16))[0] == 64
    assert jax.jit(trees.norm)(jnp.full((1, 4), 300, jnp.float16))[0] == 600


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "float64")])
def test_unravel_undoes_ravel(x64, dtypes):
    narrow, wide = map(state, dtypes)
    tree = {"narrow": narrow, "wide": wide}
    rows = jax.jit(trees.ravel)(tree)
    assert rows.shape == (3, 60)
    assert rows.dtype == trees.reduction_dtype(tree) == wide["row"].dtype
    back = jax.jit(trees.unravel)(rows, tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for leaf, original in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert leaf.dtype == original.dtype
        np.testing.assert_array_equal(leaf, original)


@pytest.mark.parametrize("dtype", FLOATS)
def test_scale_gives_each_example_its_factor_and_keeps_the_dtype(x64, dtype):
    tree = state(dtype)
    scaled = jax.jit(trees.scale)(jnp.array([1.0, 0.0, -2.0]), tree)
    for leaf, original in zip(jax.tree.leaves(scaled), jax.tree.leaves(tree), strict=True):
        assert leaf.dtype == original.dtype
        np.testing.assert_array_equal(leaf[0], original[0])
        np.testing.assert_array_equal(leaf[1], 0 * original[1])
        np.testing.assert_array_equal(leaf[2], -2 * original[2])


def test_select_takes_whole_examples_and_lets_no_nan_through():
    tree, nan = state(), jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state())
    chosen = jax.jit(trees.select)(jnp.array([True, False, True]), tree, nan)
    np.testing.assert_array_equal(example(chosen, 0), example(tree, 0))
    np.testing.assert_array_equal(example(chosen, 1), example(nan, 1))
    np.testing.assert_array_equal(example(chosen, 2), example(tree, 2))


def test_add_undoes_subtract():
    a, b = state(), jax.tree.map(jnp.ones_like, state())
    back = jax.jit(lambda a, b: trees.add(trees.subtract(a, b), b))(a, b)
    for leaf, original in zip(jax.tree.leaves(back), jax.tree.leaves(a), strict=True):
        np.testing.assert_allclose(leaf, original, atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_magnitude_is_a_power_of_two_near_the_largest_entry(x64, dtype):
    tiny, largest = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    sizes = [1.0, 1.5, 0.3, tiny, largest, 2.0**-10, 100.0]
    tree = {"a": jnp.array(sizes).astype(dtype)[:, None], "b": jnp.zeros(len(sizes), dtype)}
    magnitude = np.asarray(jax.jit(trees.magnitude)(tree), np.float64)
    np.testing.assert_array_equal(np.frexp(magnitude)[0], 0.5)
    ratio = example({"a": tree["a"][None]}, 0) / magnitude
    assert np.all((ratio >= 0.75) & (ratio < np.where(np.array(sizes) == largest, 4, 1.5)))


def test_magnitude_leaves_zero_and_non_finite_examples_alone():
    rows = jnp.array([[0.0, 0.0], [jnp.inf, 1.0], [jnp.nan, 1.0], [-4.0, 3.0]])
    np.testing.assert_array_equal(jax.jit(trees.magnitude)(rows), [1, 1, 1, 4])
    assert jax.jit(trees.magnitude)(jnp.zeros((2, 0))).tolist() == [1, 1]


def test_dividing_by_the_magnitude_and_multiplying_again_is_exact():
    tree = jax.jit(trees.scale)(jnp.array([1e-30, 1.0, 1e30]), state())
    size = jax.jit(trees.magnitude)(tree)
    unit = jax.jit(trees.scale)(1 / size, tree)
    assert np.all(np.isfinite(jax.jit(trees.norm)(unit)))
    assert np.all(jax.jit(trees.norm)(unit) >= 1)
    back = jax.jit(trees.scale)(size, unit)
    for leaf, original in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(leaf, original)


def test_the_least_precise_leaf_sets_the_rounding():
    mixed = (jnp.zeros(1, jnp.bfloat16), jnp.zeros(1, jnp.float32))
    assert trees.coarsest_eps(mixed) == 2.0**-7
    assert trees.coarsest_eps(mixed[1]) == 2.0**-23
