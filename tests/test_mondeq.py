"""Every activation that is not affine has a monotone equilibrium model, well posed by itself."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo import Split, catalog
from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable
from deqzoo.activation.sector import Sector, sector
from deqzoo.core.solvers.peaceman_rachford import PeacemanRachford
from deqzoo.models.mondeq import MonDEQ
from deqzoo.nn import DEQ, MonotoneCell
from deqzoo.nn.guarantees.monotone import Monotone

WIDTH, BATCH = 12, 6


def is_admitted(act):
    return not act.is_affine and not isinstance(act, Learnable)


ADMITTED = [name for name in activations.names() if is_admitted(activations.get(name))]


@dataclass(frozen=True)
class Tilted(Activation):
    """p tanh(x) + q x, drawn at random."""

    p: float
    q: float

    @property
    def slope(self):
        return min(self.q, self.p + self.q), max(self.q, self.p + self.q)

    @property
    def curvature(self):
        return abs(self.p) * 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return self.p * jnp.tanh(x) + self.q * x


def plug_in(seed):
    return Tilted(*np.random.default_rng(seed).uniform([-2, -2], [2, 2]).tolist())


def cell(act, *, scale=1.0, margin=0.1, seed=0, dtype=jnp.float64):
    found = MonotoneCell(WIDTH, act, margin=margin, rngs=nnx.Rngs(seed), dtype=dtype)
    found.A[...] *= scale
    found.B[...] *= scale
    return found


def injected(seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((BATCH, WIDTH)))


# The sector.


@pytest.mark.quick("gelu", "relu6", "sin", "soft_threshold")
@pytest.mark.parametrize("name", ADMITTED)
def test_the_sector_has_slopes_in_exactly_0_to_1(name):
    act = activations.get(name)
    psi = sector(act)
    assert psi.slope == (0.0, 1.0)
    assert psi.is_prox
    assert not activations.check(psi).wrong  # which measures that the bounds are attained
    low, high = act.slope
    y = np.linspace(-9, 9, 1001)
    again = low * y + (high - low) * psi.in_float64(y)
    np.testing.assert_allclose(again, act.in_float64(y), atol=1e-14)


def test_slopes_of_0_to_1_are_their_own_sector():
    assert sector(activations.get("tanh")) == activations.get("tanh")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("identity", r"Identity\(\) is affine and has no sector: use one that bends"),
        ("prelu(low=1.0, init=1.0)", r"PReLU\(.*\) is affine and has no sector: use one that"),
    ],
)
def test_an_activation_without_a_sector_is_refused_with_advice(recipe, message):
    with pytest.raises(ValueError, match=message):
        MonDEQ((4,), 2, activation=recipe, rngs=nnx.Rngs(0))


# The cell.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.1, 1.0, 300.0])
def test_the_weight_is_bounded_by_construction(x64, scale, seed):
    found = cell(activations.get("gelu"), scale=scale, margin=0.3, seed=seed)
    weight = np.asarray(found.weight())
    largest = np.linalg.eigvalsh((weight + weight.T) / 2)[-1]
    guarantee, parameters = found.guarantee(), nnx.to_pure_dict(nnx.state(found, nnx.Param))
    sharp, bound = guarantee.sharp_bound(parameters), float(guarantee.bound(parameters))
    rounding = 1e-14 * np.linalg.norm(weight, 2)
    assert largest - rounding <= sharp <= bound == 0.7
    assert sharp - largest <= rounding + 1e-12


def test_weights_that_are_not_finite_have_no_bound():
    guarantee = Monotone(activations.get("gelu"), 0.1, ())
    broken = {"A": jnp.full((2, 2), jnp.nan), "B": jnp.eye(2)}
    assert math.isnan(float(guarantee.bound(broken)))
    assert math.isnan(guarantee.sharp_bound(broken))


@pytest.mark.quick("gelu", "relu")
@pytest.mark.parametrize("name", ADMITTED)
def test_it_is_an_equilibrium_of_the_activation_itself(x64, name):
    # z = φ(Vz + c) with V and c of the docstring, computed in NumPy from W and u.
    act, u = activations.get(name), injected()
    found = cell(act, scale=2.0)
    solution = DEQ(found, solver="auto(rtol=1e-12, max_steps=2000)")(u)
    solution.check()
    z = np.asarray(found.output(solution.value, u))
    weight, (low, high) = np.asarray(found.weight()), act.slope
    inverse = np.linalg.inv((high - low) * np.eye(WIDTH) + low * weight)
    V, c = weight @ inverse, (high - low) * np.asarray(u) @ inverse.T
    size = 1e-9 * (1 + np.max(np.abs(V)) * np.max(np.abs(z)))
    np.testing.assert_allclose(z, act.in_float64(z @ V.T + c), atol=size)


@pytest.mark.quick("0")
@pytest.mark.parametrize("seed", range(6))
def test_all_splittings_find_the_one_equilibrium_from_anywhere(x64, seed):
    act, u = plug_in(seed), injected(seed)
    found = cell(act, scale=1.5, seed=seed)
    terms = "rtol=1e-12, max_steps=20000"
    recipes = [f"peaceman_rachford({terms})", f"forward_backward({terms})"]
    far = 100 * injected(seed + 1)
    ends = []
    for recipe in (*recipes, f"peaceman_rachford(step_size=0.3, {terms})"):
        ends += [DEQ(found, solver=recipe)(u, z0).check().value for z0 in (None, far)]
    v = np.asarray(ends[0])
    weight, psi = np.asarray(found.weight()), sector(act)
    np.testing.assert_allclose(psi.in_float64(v @ weight.T + np.asarray(u)), v, atol=1e-9)
    for end in ends:
        np.testing.assert_allclose(end, v, atol=1e-8)


@pytest.mark.quick("gelu")
@pytest.mark.parametrize("name", ["gelu", "silu", "relu", "sin"])
def test_the_gradient_is_that_of_a_dense_solve(x64, name):
    found, u = cell(activations.get(name), scale=2.0), injected()
    psi = found.proximal

    def loss(u):
        return jnp.sum(jnp.sin(DEQ(found, solver="auto(rtol=1e-13, max_steps=2000)")(u).value))

    slope = jax.grad(loss)(u)
    v = DEQ(found, solver="auto(rtol=1e-13, max_steps=2000)")(u).value
    weight = np.asarray(found.weight())
    D = psi.slope_in_float64(np.asarray(v) @ weight.T + np.asarray(u))
    for i in range(BATCH):
        J = D[i][:, None] * weight
        expected = D[i] * np.linalg.solve((np.eye(WIDTH) - J).T, np.cos(v[i]))
        np.testing.assert_allclose(slope[i], expected, atol=1e-8)


@pytest.mark.quick("gelu")
@pytest.mark.parametrize("name", ["gelu", "relu", "tanh", "softplus", "sin"])
def test_it_converges_where_no_norm_is_small(name):
    act = activations.get(name)
    found = cell(act, scale=6.0, dtype=jnp.float32)
    assert act.lipschitz * np.linalg.norm(found.weight(), 2) > 5
    solution = DEQ(found)(jnp.asarray(injected(), jnp.float32))
    assert float(solution.stats.fraction_converged) == 1.0
    picard = DEQ(found, solver="picard")(jnp.asarray(injected(), jnp.float32))
    assert float(picard.stats.fraction_converged) < 1.0


# The solver.


def test_auto_is_a_splitting_where_the_map_is_a_split_of_a_prox():
    auto = catalog.solvers.get("auto(rtol=1e-3, max_steps=77)")
    chosen = auto.of_split(activations.get("relu"))
    assert chosen == PeacemanRachford(rtol=1e-3, max_steps=77)
    assert auto.of_split(activations.get("gelu")) is auto
    picard = catalog.solvers.get("picard")
    assert picard.of_split(activations.get("relu")) is picard


def test_a_known_weight_is_inverted_once_and_costs_one_product_a_step(x64):
    found, u = cell(activations.get("relu"), scale=2.0), injected()
    weight = found.weight()
    affine = lambda v, u: v @ weight.T + u  # noqa: E731
    terms = "peaceman_rachford(rtol=1e-11, max_steps=2000"
    solve = lambda fn, recipe: deqzoo.fixed_point(fn, jnp.zeros_like(u), u, solver=recipe)  # noqa: E731
    known = Split("relu", affine, lambda _: weight)
    singular = np.linalg.svd(np.eye(WIDTH) - np.asarray(weight), compute_uv=False)
    alpha = float(np.exp(-np.mean(np.log(singular))))
    by_itself = solve(known, f"{terms})")
    given = solve(known, f"{terms}, step_size={alpha!r})")
    by_products = solve(Split("relu", affine), f"{terms}, step_size={alpha!r}, linear='gmres')")
    np.testing.assert_array_equal(by_itself.stats.steps, given.stats.steps)
    np.testing.assert_allclose(by_itself.value, by_products.value, atol=1e-9)
    assert np.all(by_itself.stats.steps <= by_products.stats.steps)


def test_a_weight_that_does_not_fit_is_refused_with_advice():
    fn = Split("relu", lambda z, _: z, lambda _: jnp.eye(3))
    with pytest.raises(ValueError, match=r"weight must be \(n, n\).*got \(3, 3\).*leave it out"):
        deqzoo.fixed_point(fn, jnp.zeros((2, 4)))


# The model.


def test_a_model_of_an_activation_that_is_its_own_sector_puts_out_its_state():
    model = MonDEQ((5,), 3, activation="tanh", width=8, rngs=nnx.Rngs(0))
    outputs, solution = model(jnp.ones((2, 5)))
    np.testing.assert_allclose(outputs, model.outputs(solution.value), atol=1e-4)


def test_what_it_guarantees_names_the_slopes_and_their_symmetry():
    said = " ".join(Monotone(activations.get("sin"), 0.1, ()).hypotheses)
    assert "-1 <= φ' <= 1 for Sin" in said
    assert "L‖V‖₂ < 1 all the same" in said
    assert "all the same" not in " ".join(Monotone(activations.get("gelu"), 0.1, ()).hypotheses)


@pytest.mark.parametrize("margin", [0.0, -0.1, math.inf, math.nan])
def test_an_impossible_margin_is_refused(margin):
    with pytest.raises(ValueError, match=r"margin must be a finite number > 0"):
        MonDEQ((4,), 2, margin=margin, rngs=nnx.Rngs(0))


def test_a_sector_declares_what_its_activation_does():
    psi = Sector(activations.get("gelu"))
    low, high = psi.of.slope
    assert psi.curvature == psi.of.curvature / (high - low)
    assert Sector(activations.get("relu6")).kinks == activations.get("relu6").kinks
