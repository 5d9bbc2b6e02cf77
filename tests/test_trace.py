"""Two traces are equal where they compute the same, so that what is compiled is found again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo.core.map.trace import Trace

W = jnp.eye(3)


def ruled(slope):
    """A sine with a derivative of its own."""
    fn = jax.custom_jvp(jnp.sin)
    fn.defjvp(lambda z, dz: (fn(*z), slope * dz[0]))
    return fn


def told(word):
    def fn(z):
        jax.debug.print(word)
        return z

    return fn


MAPS = {
    "tanh": lambda z: jnp.tanh(z @ W),
    "relu": lambda z: jax.nn.relu(z @ W),
    "softmax": jax.nn.softmax,
    "while": lambda z: jax.lax.while_loop(lambda s: s.sum() < 9, lambda s: 2 * s + 1, z),
    "scan": lambda z: jax.lax.scan(lambda z, w: (z @ w, None), z, jnp.stack([W, W]))[0],
    "cond": lambda z: jax.lax.cond(z.sum() > 0, jnp.sin, jnp.cos, z),
    "draws": lambda z: z * jax.random.bernoulli(jax.random.key(0), 0.5, z.shape),
    "a rule of its own": ruled(2.0),
}
PAIRS = {
    "another constant": (lambda z: 2.0 * z, lambda z: 3.0 * z),
    "the sign of zero": (lambda z: 0.0 * z, lambda z: -0.0 * z),
    "the order of operands": (lambda z: z - z.T, lambda z: z.T - z),
    "another operation": (jnp.sin, jnp.cos),
    "another dtype within": (lambda z: z, lambda z: z.astype("bfloat16").astype("float32")),
    "another branch": (
        lambda z: jax.lax.cond(z.sum() > 0, jnp.sin, jnp.cos, z),
        lambda z: jax.lax.cond(z.sum() > 0, jnp.cos, jnp.sin, z),
    ),
    "another derivative": (ruled(2.0), ruled(3.0)),
    "another word": (told("yes"), told("no")),
    "another place in the result": (lambda z: (z, z + 1), lambda z: (z + 1, z)),
}


def trace_of(fn):
    return Trace(jax.make_jaxpr(lambda z: fn(z))(jnp.ones((3, 3))).jaxpr)


@pytest.mark.parametrize("name", MAPS)
def test_a_map_traced_twice_is_one(name):
    first, second = trace_of(MAPS[name]), trace_of(MAPS[name])
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize("name", PAIRS)
def test_maps_that_differ_are_two(name):
    assert trace_of(PAIRS[name][0]) != trace_of(PAIRS[name][1])


@pytest.fixture
def compiled():
    """How often XLA compiled."""
    times = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            times.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield times
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("adjoint", ["implicit", "phantom", "unrolled"])
def test_an_eager_loop_over_closures_compiles_once(compiled, adjoint):
    solver, x = "picard(max_steps=30)", np.ones((2, 3), np.float32)

    def slope(number):
        weight = number * W

        def loss(x):
            fn = lambda z, _: jnp.tanh(z @ weight + x)  # noqa: E731
            start = jnp.zeros_like(x)
            return jnp.sum(deqzoo.fixed_point(fn, start, solver=solver, adjoint=adjoint).value)

        return jax.grad(loss)(x)

    first = slope(0.1), slope(0.2)
    before = len(compiled)
    again = slope(0.1), slope(0.2), slope(0.3)
    assert len(compiled) == before
    np.testing.assert_array_equal(first, again[:2])
    assert not np.array_equal(again[1], again[2])
