"""Flax modules: the DEQ is its cell's fixed point, and every cell and model starts well posed."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import sparse

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.core import spectral
from deqzoo.nn import DEQ, WideCell
from deqzoo.testing import check_model, name_of
from deqzoo.testing.subject import Subject

WIDTH = 8
PICARD = "picard(rtol=1e-6)"


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def wide_cell(activation="gelu", width=WIDTH, seed=0, **settings):
    return WideCell(width, activations.get(activation), rngs=nnx.Rngs(seed), **settings)


class Affine(nnx.Module):
    """A cell with two parameters of different kinds and a state of its own shape."""

    def __init__(self, rngs):
        self.inner = nnx.Linear(3, 3, rngs=rngs, kernel_init=nnx.initializers.normal(0.1))
        self.gain = nnx.Param(jnp.full((1, 1), 0.5))

    def __call__(self, z, x):
        return {"h": jnp.tanh(self.gain[...] * self.inner(z["h"]) + x)}

    def start(self, x):
        return {"h": jnp.ones_like(x)}


# DEQ.


def test_a_deq_is_the_fixed_point_of_its_cell():
    cell = Affine(nnx.Rngs(0))
    x = numbers(4, 3)
    solution = DEQ(cell, solver="picard")(x).check()
    image = cell(solution.value, x)
    np.testing.assert_allclose(image["h"], solution.value["h"], atol=1e-5)
    pure = deqzoo.fixed_point(
        lambda z, x: {"h": jnp.tanh(0.5 * (z["h"] @ cell.inner.kernel[...]) + x)},
        {"h": jnp.ones((4, 3))},
        x,
        solver="picard",
    )
    np.testing.assert_allclose(solution.value["h"], pure.value["h"], rtol=1e-6)
    np.testing.assert_array_equal(solution.stats.steps, pure.stats.steps)


@pytest.mark.quick("implicit", "neumann")
@pytest.mark.parametrize("adjoint", sorted({*catalog.adjoints.names()} - {"shine"}))
def test_gradients_of_the_parameters_equal_those_of_a_pure_function(adjoint):
    cell, x = wide_cell("tanh"), numbers(4, WIDTH)
    solver = "picard(rtol=1e-6, max_steps=60)"
    graph, state = nnx.split(DEQ(cell, solver=solver, adjoint=adjoint))

    @jax.jit
    def module(state, x):
        return jnp.sum(nnx.merge(graph, state)(x).value ** 2)

    @jax.jit
    def pure(weight, x):
        fn = lambda z, args: jnp.tanh(z @ args[0].T + args[1])  # noqa: E731
        start = jnp.zeros_like(x)
        value = deqzoo.fixed_point(fn, start, (weight, x), solver=solver, adjoint=adjoint).value
        return jnp.sum(value**2)

    by_state, by_x = jax.grad(module, argnums=(0, 1))(state, x)
    expected, expected_by_x = jax.grad(pure, argnums=(0, 1))(cell.W[...], x)
    assert np.any(expected != 0)
    np.testing.assert_allclose(by_state["cell"]["W"][...], expected, atol=1e-5)
    np.testing.assert_allclose(by_x, expected_by_x, atol=1e-5)


def test_nnx_transformations_work():
    deq, x = DEQ(wide_cell(), solver="picard"), numbers(4, WIDTH)
    loss = lambda deq, x: jnp.sum(deq(x).value ** 2)  # noqa: E731
    slope = nnx.jit(nnx.grad(loss))(deq, x)["cell"]["W"][...]
    assert slope.shape == (WIDTH, WIDTH)
    assert np.all(np.isfinite(slope))
    assert np.any(slope != 0)


def test_changed_parameters_are_seen():
    deq, x = DEQ(wide_cell("identity"), solver="picard"), numbers(4, WIDTH)
    before = deq(x).value
    deq.cell.W[...] = jnp.zeros((WIDTH, WIDTH))
    np.testing.assert_allclose(deq(x).value, x, rtol=1e-6)
    assert not np.allclose(before, x)


@pytest.mark.parametrize("cell", [nnx.Module(), nnx.Linear(2, 2, rngs=nnx.Rngs(0))])
def test_a_module_that_is_no_cell_is_refused_with_what_a_cell_has(cell):
    with pytest.raises(TypeError, match=r"__call__\(z, x\) and start\(x\).*deqzoo.fixed_point"):
        DEQ(cell)


def test_the_start_may_be_given():
    deq, x = DEQ(wide_cell(), solver="picard"), numbers(4, WIDTH)
    cold = deq(x).check()
    warm = deq(x, cold.value).check()
    assert np.all(warm.stats.steps == 1)
    np.testing.assert_array_equal(warm.value, cold.value)


class Stateful(nnx.Module):
    """A linear cell with one more layer inside."""

    def __init__(self, layer):
        self.linear, self.layer = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0)), layer

    def __call__(self, z, x):
        return self.layer(self.linear(z)) + x

    def start(self, x):
        return jnp.zeros_like(x)


class Counting(nnx.Module):
    """A layer whose every call is counted."""

    def __init__(self):
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, h):
        self.calls[...] += 1
        return h


@pytest.mark.parametrize(
    ("layer", "variable"),
    [
        (lambda: nnx.BatchNorm(WIDTH, rngs=nnx.Rngs(0)), "BatchStat layer.mean"),
        (Counting, "Variable layer.calls"),
    ],
)
def test_what_a_call_of_the_cell_changes_is_refused_by_name_with_advice(layer, variable):
    deq = DEQ(Stateful(layer()))
    message = f"changes its {variable}: .*BatchNorm into the stem or head.*LayerNorm or Group"
    with pytest.raises(ValueError, match=message):
        deq(numbers(4, WIDTH))


def test_statistics_that_are_only_read_are_constants():
    cell = Stateful(nnx.BatchNorm(WIDTH, rngs=nnx.Rngs(0)))
    cell.linear.kernel[...] *= 0.1
    cell.layer.mean[...] = jnp.full(WIDTH, 0.5)
    cell.eval()
    value = DEQ(cell, solver="picard")(x := numbers(4, WIDTH)).check().value
    np.testing.assert_allclose(cell(value, x), value, atol=1e-4)


class Buffer(nnx.Variable):
    pass


MASK = np.array([1, 0, 1, 1, 0, 1, 1, 1], np.float32)
CONSTANTS = {
    "array": lambda: jnp.asarray(MASK),
    "numpy": lambda: MASK,
    "bool": lambda: MASK > 0,
    "variable": lambda: Buffer(jnp.asarray(MASK)),
    "cache": lambda: nnx.Cache(jnp.asarray(MASK)),
    "nested": lambda: nnx.data({"of": (jnp.asarray(MASK), [np.arange(3)])}),
    "sparse": lambda: nnx.data(sparse.BCOO.fromdense(jnp.diag(MASK))),
}


class Constant(nnx.Module):
    """A layer that applies the mask above, however it is kept."""

    def __init__(self, kept):
        self.kept = kept

    def __call__(self, h):
        kept = self.kept["of"][0] if isinstance(self.kept, dict) else self.kept
        if isinstance(kept, sparse.BCOO):
            return h @ kept
        return h * (kept[...] if isinstance(kept, nnx.Variable) else kept)[None]


@pytest.mark.quick("array", "bool", "variable", "cache")
@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_cell_may_read_constants(kind):
    layer, x = Constant(CONSTANTS[kind]()), numbers(4, WIDTH)
    cell = Stateful(layer)
    cell.linear.kernel[...] *= 0.1

    def loss(deq):
        value = deq(x).value
        return jnp.sum(value**2), value

    (_, value), slope = nnx.value_and_grad(loss, has_aux=True)(DEQ(cell, solver=PICARD))
    plain = Stateful(lambda h: h * MASK[None])
    plain.linear.kernel[...] *= 0.1
    expected, expected_slope = nnx.value_and_grad(loss, has_aux=True)(DEQ(plain, solver=PICARD))
    np.testing.assert_allclose(value, expected[1], atol=1e-5)
    kernels = (each["cell"]["linear"]["kernel"][...] for each in (slope, expected_slope))
    np.testing.assert_allclose(*kernels, atol=1e-4)


@pytest.mark.parametrize("wrap", [nnx.WeightNorm, nnx.SpectralNorm])
def test_normalised_weights_are_welcome_in_a_cell(wrap):
    cell = Stateful(wrap(nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(2)))
    cell.linear.kernel[...] *= 0.1
    cell.eval()
    value = DEQ(cell, solver="picard")(x := numbers(4, WIDTH)).check().value
    np.testing.assert_allclose(nnx.clone(cell)(value, x), value, atol=1e-4)


def dropout_deq():
    cell = Stateful(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    cell.linear.kernel[...] *= 0.2
    return DEQ(cell, solver="picard")


def test_a_dropout_mask_is_drawn_once_per_solve_and_anew_for_the_next():
    deq = dropout_deq()
    x = numbers(4, WIDTH)
    frozen = deq.map(x)
    first = deq(x)
    assert first.check().stats.steps.max() < 60  # a new mask in every step would never converge
    np.testing.assert_allclose(frozen(first.value), first.value, atol=1e-4)
    second = deq(x).check()
    assert np.mean(np.abs(second.value - first.value) > 1e-3) > 0.1
    np.testing.assert_array_equal(dropout_deq()(x).value, first.value)


def test_the_streams_advance_inside_jit():
    deq = dropout_deq()
    run = nnx.jit(lambda deq, x: deq(x).value)
    x = numbers(4, WIDTH)
    assert np.mean(np.abs(run(deq, x) - run(deq, x)) > 1e-3) > 0.1


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nnx.LayerNorm(WIDTH, rngs=nnx.Rngs(0)),
        lambda: nnx.GroupNorm(WIDTH, num_groups=2, rngs=nnx.Rngs(0)),
    ],
)
def test_layers_without_state_are_welcome(layer):
    solution = DEQ(Stateful(layer()), solver="picard(max_steps=3)")(numbers(4, WIDTH))
    assert np.all(np.isfinite(solution.value))


# The wide cell.


@pytest.mark.parametrize("width", [1, 2, 4, 64])
@pytest.mark.parametrize("activation", catalog.activations.names())
def test_every_activation_starts_well_posed_at_every_width(activation, width):
    act = activations.get(activation)
    for seed in range(5 if width < 64 else 1):
        cell = WideCell(width, act, rngs=nnx.Rngs(seed))
        gain = act.lipschitz * spectral.spectral_norm(np.asarray(cell.W[...]))
        assert 0 < gain < 0.96
        bound = cell.guarantee().sharp_bound({"W": cell.W[...]})
        assert gain <= bound < gain * (1 + 1e-6)
    if width == 64:
        assert gain > 0.6


@pytest.mark.parametrize("width", [1, 2, 4, 64])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_unlucky_draws_are_scaled_down(activation, width):
    act = activations.get(activation)
    gains = [
        act.lipschitz * spectral.spectral_norm(np.asarray(cell.W[...]))
        for cell in (
            wide_cell(activation, width, seed, s_w=0.499 / act.lipschitz) for seed in range(8)
        )
    ]
    assert max(gains) <= 0.95 * (1 + 1e-6)
    assert width == 1 or max(gains) > 0.9


def test_the_weights_have_the_variance_of_the_papers():
    # W_ij ~ N(0, s_w^2/m): the sample variance of 256^2 numbers has relative standard error 0.55 %.
    weight = np.asarray(wide_cell("tanh", width=256, s_w=0.3).W[...])
    assert np.var(weight) == pytest.approx(0.3**2 / 256, rel=0.03)
    assert np.mean(weight) == pytest.approx(0, abs=4 * 0.3 / 256**1.5)
    assert np.linalg.norm(weight, 2) == pytest.approx(2 * 0.3, rel=0.06)


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "cos"])
def test_a_scale_beyond_the_guarantee_is_refused_and_the_limit_named(activation):
    act = activations.get(activation)
    limit = 1 / (2 * act.lipschitz)
    message = rf"2 s_w L = 1\.2, .*use s_w below {limit:.6g} .*sigma_w2 below {limit**2 / 2:.6g}"
    with pytest.raises(ValueError, match=message):
        wide_cell(activation, s_w=1.2 * limit)
    with pytest.raises(ValueError, match=r"2 s_w L = 1,"):
        wide_cell(activation, s_w=limit)
    wide_cell(activation, s_w=0.999 * limit)


@pytest.mark.parametrize("s_w", [-0.1, math.nan])
def test_an_impossible_scale_is_refused(s_w):
    with pytest.raises(ValueError, match="guaranteed only in"):
        wide_cell(s_w=s_w)


def test_a_zero_scale_gives_one_layer():
    solution = DEQ(wide_cell("tanh", s_w=0.0), solver="picard")(x := numbers(4, WIDTH))
    np.testing.assert_allclose(solution.check().value, np.tanh(x), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_a_state_is_as_precise_as_the_parameters_and_at_least_float32(x64, dtype):
    cell = WideCell(WIDTH, activations.get("gelu"), rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))
    assert cell.W[...].dtype == dtype
    deq = nnx.jit(DEQ(cell, solver="picard"))
    solution = deq(numbers(4, WIDTH).astype(dtype))
    assert solution.check().value.dtype == jnp.promote_types(dtype, jnp.float32)


# The wide model.


def wide(**settings):
    settings = {"activation": "tanh", "width": 64, "solver": "picard", **settings}
    return catalog.models.load("wide")((WIDTH,), 2, rngs=nnx.Rngs(0), **settings)


def test_ling_s_scales():
    build = catalog.models.load("wide").from_ling
    model = build(0.08, (64,), 8, activation="relu", width=256, rngs=nnx.Rngs(0))
    for weight, variance in (
        (model.deq.cell.W, 2 * 0.08 / 256),
        (model.U, 2 / 64),
        (model.a, 1 / 256),
    ):
        count = weight[...].size
        assert np.var(weight[...]) == pytest.approx(variance, rel=5 * math.sqrt(2 / count))
    same = wide(activation="relu", s_w=0.4, s_u=math.sqrt(2), s_a=1.0)
    again = build(0.08, (WIDTH,), 2, activation="relu", width=64, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(same.deq.cell.W[...], again.deq.cell.W[...])
    np.testing.assert_array_equal(same.a[...], again.a[...])


def test_ling_s_scale_beyond_the_theorem_is_refused():
    build = catalog.models.load("wide").from_ling
    with pytest.raises(ValueError, match="sigma_w2 below 0.125"):
        build(0.125, (8,), 1, activation="relu", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="sigma_w2 must be >= 0"):
        build(-0.1, (8,), 1, rngs=nnx.Rngs(0))


def test_a_zero_head_gives_zero_outputs_and_a_trainable_model():
    model, x = wide(s_a=0.0), numbers(4, WIDTH)
    run = nnx.jit(
        nnx.value_and_grad(lambda model: (jnp.sum(outputs := model(x)[0]), outputs), has_aux=True)
    )
    (_, outputs), slope = run(model)
    np.testing.assert_array_equal(outputs, np.zeros((4, 2)))
    assert np.any(slope["a"][...] != 0)


def test_the_wide_model_is_the_network_of_the_papers():
    # z = φ(Wz + Ux), ŷ = a z, no biases: three parameters and nothing else.
    model, x = wide(), numbers(4, WIDTH)
    w, u, a = (np.asarray(p[...], np.float64) for p in (model.deq.cell.W, model.U, model.a))
    assert len(jax.tree.leaves(nnx.state(model))) == 3
    z = np.zeros((4, 64))
    for _ in range(200):
        z = np.tanh(z @ w.T + x @ u.T)
    np.testing.assert_allclose(model(x)[0], z @ a.T, atol=2e-4)


# Every model.

MONOTONE = ("conv_mondeq", "lben", "mondeq")  # which Picard iteration need not solve
EXPLICIT = ("agpcn", "gcn", "gpcn")  # of finite depth
OF_LEVEL_C = ("attractor", "mdeq", *EXPLICIT)
SLOW = ("it computes in the precision", "it can be exported")  # tests/test_export.py exports runs


# Name -> the truths that stay quick: of siblings little is new beside ignn, models of sequences and
# of images take seconds to compile.
FEW = (
    dict.fromkeys(("gind", *EXPLICIT), ("outputs",))
    | dict.fromkeys(("attractor", "causal", "implicit_rnn"), ("equal seeds", "what it guarantees"))
    | dict.fromkeys(("conv_mondeq", "fno", "inr", "mdeq", "multiscale", "proxnet"), ("outputs",))
)


def cases():
    for name in catalog.models.names():
        for truth in check_model.truths:
            told = name_of(truth)
            is_slow = told.startswith(SLOW) or not told.startswith(FEW.get(name, ("",)))
            marks = [pytest.mark.slow] * is_slow
            yield pytest.param(name, truth, id=f"{name}-{told}", marks=marks)


@pytest.mark.parametrize(("name", "truth"), [*cases()])
def test_every_model_keeps_its_contract(name, truth):
    # What Picard iteration solves too compiles fastest with it.
    cheap = "(solver='picard', adjoint=\"implicit(solver='picard')\")"
    check_model(name + cheap * (name not in MONOTONE), only=truth)


@pytest.mark.parametrize("name", catalog.models.names())
def test_every_model_of_the_zoo_guarantees_something_or_is_of_level_c(name):
    model = Subject.of(name).build()
    assert bool(model.guarantees()) == (name not in OF_LEVEL_C)
    assert isinstance(model.activation, deqzoo.Activation)
