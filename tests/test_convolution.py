"""Convolutions in canonical layout: the same function, and the fast path in every loop."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

import deqzoo
from deqzoo.core.map import convolution, kernels

KEY = jax.random.key(0)
# image, kernel, their layouts (image, kernel, result), and what else lax takes
SETTINGS = {
    "flax 1-d": ((2, 7, 4), (3, 4, 6), ("NWC", "WIO", "NWC"), {}),
    "flax 2-d": ((2, 5, 6, 4), (3, 2, 4, 6), ("NHWC", "HWIO", "NHWC"), {}),
    "flax 3-d": ((2, 4, 5, 3, 2), (2, 3, 2, 2, 4), ("NDHWC", "DHWIO", "NDHWC"), {}),
    "channels first": ((2, 4, 5, 6), (6, 4, 3, 2), ("NCHW", "OIHW", "NCHW"), {}),
    "mixed": ((4, 2, 5, 6), (4, 3, 2, 6), ("CNHW", "IHWO", "NHWC"), {}),
    "no pixels": ((3, 4), (4, 5), ("NC", "IO", "NC"), {"padding": ()}),
    "strided": ((2, 7, 6, 4), (6, 4, 3, 3), ("NHWC", "OIHW", "NHWC"), {"window_strides": (2, 3)}),
    "dilated image": (
        (2, 4, 3, 4),
        (3, 3, 6, 4),
        None,
        {"lhs_dilation": (2, 3), "padding": ((1, 2), (0, 1))},
    ),
    "dilated kernel": ((2, 8, 9, 4), (3, 2, 6, 4), None, {"rhs_dilation": (2, 3)}),
    "grouped": ((2, 5, 6, 4), (3, 3, 8, 2), None, {"feature_group_count": 2}),
    "depthwise": ((2, 5, 6, 4), (3, 3, 4, 1), None, {"feature_group_count": 4}),
    "batch groups": ((4, 5, 6, 4), (3, 3, 6, 4), None, {"batch_group_count": 2}),
    "padding": ((2, 5, 6, 4), (3, 3, 6, 4), None, {"padding": ((0, 2), (-1, 3))}),
    "precision": ((2, 5, 6, 4), (3, 3, 6, 4), None, {"precision": "highest"}),
    "wide result": ((2, 5, 6, 4), (3, 3, 6, 4), None, {"preferred_element_type": jnp.float32}),
}


def setting(name):
    """A convolution with its image and kernel."""
    shape, kernel, layout, options = SETTINGS[name]
    pixels = len(shape) - 2
    options = {"window_strides": (1,) * pixels, "padding": "SAME"} | options
    numbers = layout or ("NHWC", "HWOI", "NHWC")
    dtype = jnp.bfloat16 if name == "wide result" else jnp.float32
    a, b = (
        jax.random.normal(key, size, dtype)
        for key, size in zip(jax.random.split(KEY), (shape, kernel), strict=True)
    )
    conv = lambda z, k: lax.conv_general_dilated(z, k, dimension_numbers=numbers, **options)  # noqa: E731
    return conv, a, b


def rewritten(fn, *args):
    """``fn`` after a round through ``canonical``; it must find every convolution."""
    closed = jax.make_jaxpr(fn)(*args)
    jaxpr = convolution.canonical(closed.jaxpr, platform="cpu")
    assert convolution.has_convolution(jaxpr)
    assert_canonical(jaxpr)
    run = jaxpr_as_fun(ClosedJaxpr(jaxpr, closed.consts))
    return lambda *args: run(*jax.tree.leaves(args))[0]


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        leaves = jax.tree.leaves([*eqn.params.values()], is_leaf=lambda v: hasattr(v, "eqns"))
        for leaf in leaves:
            if isinstance(leaf, Jaxpr | ClosedJaxpr):
                yield from equations(leaf)


def assert_canonical(jaxpr):
    for eqn in equations(jaxpr):
        if eqn.primitive.name == "conv_general_dilated":
            image, kernel, result = eqn.params["dimension_numbers"]
            rank = len(image)
            assert tuple(image) == tuple(result) == (0, rank - 1, *range(1, rank - 1))
            assert tuple(kernel) == (rank - 1, rank - 2, *range(rank - 2))


def assert_close(a, b, tolerance=3e-6):
    assert a.dtype == b.dtype
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (i > 3)) for i, n in enumerate(SETTINGS)],
)
def test_value_and_derivatives_are_those_of_the_original(name):
    conv, z, kernel = setting(name)
    fast = rewritten(conv, z, kernel)
    change = (jnp.cos(z), jnp.sin(kernel))
    tolerance = 3e-6 if z.dtype == jnp.float32 else 1e-2  # a bfloat16 gradient is rounded once
    for a, b in zip(
        jax.jvp(fast, (z, kernel), change), jax.jvp(conv, (z, kernel), change), strict=True
    ):
        assert_close(a, b)
    cotangent = jnp.cos(conv(z, kernel))
    pullback, original = (jax.vjp(fn, z, kernel)[1] for fn in (fast, conv))
    for a, b in zip(pullback(cotangent), original(cotangent), strict=True):
        assert_close(a, b, tolerance)
    transposed = jax.linear_transpose(lambda z: conv(z, kernel), z)
    apply = lambda u: transposed(u)[0]  # noqa: E731
    assert_close(rewritten(apply, cotangent)(cotangent), apply(cotangent), tolerance)


def transposed_convolution(z, kernel):
    """OIHW: what a loop would run on the slow path."""
    return lax.conv_general_dilated(
        z, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )


def in_custom_jvp(z, k):
    rule = jax.custom_jvp(transposed_convolution)
    rule.defjvp(lambda p, t: (transposed_convolution(*p), 2 * transposed_convolution(t[0], p[1])))
    return rule(z, k)


def in_custom_vjp(z, k):
    rule = jax.custom_vjp(transposed_convolution)
    rule.defvjp(lambda z, k: (transposed_convolution(z, k), z), lambda z, u: (2 * u, None))
    return rule(z, k)


NESTED = {
    "jit": jax.jit(transposed_convolution),
    "jit twice": lambda z, k: TWICE(TWICE(z, k), k),
    "remat": jax.checkpoint(transposed_convolution),
    "custom_jvp": in_custom_jvp,
    "custom_vjp": in_custom_vjp,
    "scan": lambda z, k: lax.scan(
        lambda z, _: (jnp.tanh(transposed_convolution(z, k)), None), z, length=3
    )[0],
    "while": lambda z, k: lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.tanh(transposed_convolution(s[1], k))), (0, z)
    )[1],
    "cond": lambda z, k: lax.cond(
        z[0, 0, 0, 0] > 0, lambda: transposed_convolution(z, k), lambda: z
    ),
    "linear solve": lambda z, k: lax.custom_linear_solve(
        lambda u: u - 0.01 * transposed_convolution(u, k),
        z,
        lambda product, b: b + (b - product(b)),
        lambda product, b: b + (b - product(b)),
    ),
}
TWICE = jax.jit(lambda z, k: jnp.tanh(transposed_convolution(z, k)))


@pytest.mark.parametrize("name", NESTED)
def test_nested_computations_are_rewritten_and_keep_their_derivative_rules(name):
    fn = NESTED[name]
    z, k = jax.random.normal(KEY, (2, 4, 5, 3)), 0.2 * jax.random.normal(KEY, (3, 3, 2, 3))
    fast = rewritten(fn, z, k)
    assert_close(fast(z, k), fn(z, k))
    if name == "custom_vjp":
        derivative = lambda fn: jax.grad(lambda z: jnp.sum(fn(z, k)))(z)  # noqa: E731
    else:
        derivative = lambda fn: jax.jvp(lambda z: fn(z, k), (z,), (jnp.cos(z),))[1]  # noqa: E731
    assert_close(derivative(fast), derivative(fn))


def test_what_has_no_convolution_or_does_not_run_on_a_cpu_is_untouched():
    plain = jax.make_jaxpr(jax.jit(lambda z: jnp.tanh(z @ z)))(jnp.ones((2, 2))).jaxpr
    assert not convolution.has_convolution(plain)
    assert convolution.canonical(plain, platform="cpu") is plain
    conv, z, kernel = setting("channels first")
    convolving = jax.make_jaxpr(conv)(z, kernel).jaxpr
    assert convolution.canonical(convolving, platform="gpu") is convolving
    assert convolution.canonical(convolving) is not convolving
    with jax.default_device("cpu"):
        assert convolution.canonical(convolving) is not convolving


class Block(nnx.Module):
    """An unmodified Flax block, with a strided convolution and one that undoes the stride."""

    def __init__(self, rngs):
        small = nnx.initializers.normal(0.1)
        self.down = nnx.Conv(4, 8, (3, 3), strides=2, kernel_init=small, rngs=rngs)
        self.up = nnx.ConvTranspose(8, 4, (3, 3), strides=(2, 2), kernel_init=small, rngs=rngs)
        self.norm = nnx.GroupNorm(8, num_groups=2, rngs=rngs)

    def __call__(self, z, x):
        return jnp.tanh(self.up(self.norm(nnx.relu(self.down(z)))) + x)


@pytest.fixture(scope="module")
def block():
    cell = Block(nnx.Rngs(0))
    return cell, jax.random.normal(KEY, (2, 6, 6, 4))


def adjoint_loop(block, fast):
    """u <- Jᵀu + u0, repeated, as an adjoint solve runs it."""
    cell, x = block
    graph, parameters = nnx.split(cell)

    def run(parameters, u):
        _, product = jax.linearize(lambda z: nnx.merge(graph, parameters)(z, x), x)
        transposed = jax.linear_transpose(product, x)
        closed = jax.make_jaxpr(lambda u: transposed(u)[0])(u)
        if fast:
            jaxpr = convolution.canonical(closed.jaxpr, platform="cpu")
            closed = kernels.arrange(ClosedJaxpr(jaxpr, closed.consts))
        step = jaxpr_as_fun(closed)
        return lax.fori_loop(0, 4, lambda _, v: step(v)[0] + u, u)

    return jax.jit(run), parameters, x


def test_the_adjoint_loop_is_the_same_and_all_its_convolutions_are_on_the_fast_path(block):
    run, *args = adjoint_loop(block, fast=True)
    compiled = run.lower(*args).compile()
    assert_close(compiled(*args), adjoint_loop(block, fast=False)[0](*args))
    in_loop = [line for line in compiled.as_text().splitlines() if "/while/body" in line]
    layouts = re.findall(r"convolution\(.*dim_labels=(\S+?),", "\n".join(in_loop))
    assert len(layouts) == 2
    assert {*layouts} == {"b01f_01io->b01f"}


def test_kernels_are_arranged_before_the_loop(block):
    run, *args = adjoint_loop(block, fast=True)
    loop = next(
        eqn for eqn in equations(jax.make_jaxpr(run)(*args).jaxpr) if eqn.primitive.name == "scan"
    )
    names = {eqn.primitive.name for eqn in equations(loop.params["jaxpr"])}
    assert "conv_general_dilated" in names
    assert not names & {"transpose", "rev"}


def test_the_gradient_of_a_fixed_point_is_the_same(block):
    cell, x = block
    graph, parameters = nnx.split(cell)

    def loss(parameters, x, fast):
        fn = lambda z, args: nnx.merge(graph, args[0], copy=True)(z, args[1])  # noqa: E731
        if fast:
            fn = rewritten(fn, x, (parameters, x))
        solution = deqzoo.fixed_point(fn, jnp.zeros_like(x), (parameters, x), solver="anderson")
        return jnp.sum(jnp.sin(solution.value))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    fast, plain = gradient(parameters, x, True), gradient(parameters, x, False)
    for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        assert_close(a, b, 1e-5)
