"""Examples spread over devices: equal results and derivatives, and loops that do not wait."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from deqzoo.core import shards

_TWO_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jax.numpy as jnp, numpy as np, deqzoo
from deqzoo.core import shards

def solve(weight, x):
    fn = lambda z, args: jnp.tanh(z @ args[0] + args[1])
    return deqzoo.fixed_point(fn, jnp.zeros_like(x), (weight, x), solver="picard")

def loss(solve):
    return jax.jit(jax.value_and_grad(lambda w, x: jnp.sum(solve(w, x).value ** 2), argnums=(0, 1)))

weight = 0.3 * jax.random.normal(jax.random.key(0), (5, 5))
x = jax.random.normal(jax.random.key(1), (4, 5))
spread = shards.over_examples(solve)
apart, together = jax.jit(spread)(weight, x), jax.jit(solve)(weight, x)
np.testing.assert_array_equal(apart.stats.steps, together.stats.steps)
assert len(apart.value.sharding.device_set) == 2
for a, b in zip(
    jax.tree.leaves(loss(spread)(weight, x)), jax.tree.leaves(loss(solve)(weight, x)), strict=True
):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)

single = jax.jit(spread)(weight, x[:3])
assert len(single.value.sharding.device_set) == 1
np.testing.assert_array_equal(single.stats.steps, together.stats.steps[:3])

from jax.sharding import Mesh, NamedSharding, PartitionSpec
placed = jax.device_put(
    x, NamedSharding(Mesh(np.array(jax.devices()), ("b",)), PartitionSpec("b")))
waits = lambda fn: jax.jit(fn).lower(weight, placed).compile().as_text().count("all-reduce(")
assert waits(solve) > 0
assert waits(spread) == 0

try:
    jax.jit(shards.over_examples(lambda w, x: jnp.sum(x)))(weight, x)
except ValueError as error:
    assert "expected 2 examples on axis 0 of the result, got shape ()" in str(error)
else:
    raise AssertionError("a reduced result passed")
"""


@pytest.mark.slow
def test_two_devices_give_the_same_and_do_not_wait_for_each_other():
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run(
        [sys.executable, "-c", _TWO_DEVICES],
        check=True,
        env=environment | {"JAX_PLATFORMS": "cpu"},
        timeout=300,
    )


def test_one_device_means_a_plain_call():
    devices = jax.local_devices()[:1]
    plain = shards.over_examples(lambda shared, x: shared * x, devices)
    assert plain(2.0, jnp.ones((3, 1))).shape == (3, 1)


def test_examples_that_disagree_are_refused():
    with pytest.raises(ValueError, match="axis 0 of every leaf is the batch"):
        shards.over_examples(lambda shared, x, y: x)(1.0, jnp.ones((2, 1)), jnp.ones((3, 1)))
