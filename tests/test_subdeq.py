"""Nonnegative weights of any size have one positive equilibrium where φ is subhomogeneous."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo.activation.check import ActivationError
from deqzoo.activation.contract import Activation
from deqzoo.activation.subhomogeneity import subhomogeneity
from deqzoo.models.subdeq import SubDEQ
from deqzoo.nn import DEQ, PositiveCell
from deqzoo.nn.guarantees.subhomogeneous import Subhomogeneous

SATURATING = [n for n in activations.names() if activations.get(n).saturation is not None]


@dataclass(frozen=True)
class Steep(Activation):
    """M tanh(s x), whose declared saturation may be a lie."""

    s: float = 1.0
    M: float = 1.0
    said: float | None = None

    @property
    def slope(self):
        return 0.0, self.s * self.M

    @property
    def curvature(self):
        return self.M * self.s**2 * 4 / (3 * math.sqrt(3))

    @property
    def saturation(self):
        return self.M if self.said is None else self.said

    def __call__(self, x):
        return self.M * jnp.tanh(self.s * x)


@dataclass(frozen=True)
class Bent(Activation):
    """tanh(x - 1): bounded and rising, but not concave on [0, ∞)."""

    slope = (0.0, 1.0)
    curvature = 4 / (3 * math.sqrt(3))
    saturation = 1.0

    def __call__(self, x):
        return jnp.tanh(x - 1)


def test_the_bounded_concave_ones_say_so():
    assert {"tanh", "sigmoid", "erf", "arctan", "softsign", "relu6"} <= {*SATURATING}


@pytest.mark.parametrize("name", SATURATING)
def test_the_proved_bound_is_the_supremum_barely_enlarged(name):
    act = activations.get(name)
    x = np.concatenate([np.geomspace(1e-8, 1e5, 400_000), act.kinks])
    x = x[x > 0]
    for c in (0.01, 0.3, 1.01, 20.0):
        quotient = x * act.slope_in_float64(x) / (act.in_float64(x) + c)
        assert np.max(quotient) <= subhomogeneity(act, c) <= 1.01 * np.max(quotient) + 1e-9
        assert subhomogeneity(act, c) < 1


def test_it_follows_scale_and_height():
    # x φ'/(φ + c) does not depend on s, and on M only through c/M.
    plain = subhomogeneity(activations.get("tanh"), 0.5)
    assert abs(subhomogeneity(Steep(s=40.0, M=3.0), 1.5) - plain) < 1e-3


@pytest.mark.parametrize(
    ("act", "c", "message"),
    [
        (activations.get("relu"), 1.0, "ReLU.. declares no saturation.*such as tanh"),
        (activations.get("tanh"), 0.0, r"φ\(0\) \+ c must be > 0.*use a larger c"),
        (Steep(), -0.1, r"φ\(0\) \+ c must be > 0"),
        (Steep(), math.nan, r"φ\(0\) \+ c must be > 0"),
    ],
)
def test_what_has_no_bound_is_refused_with_advice(act, c, message):
    with pytest.raises(ValueError, match=message):
        subhomogeneity(act, c)


def test_lies_about_saturation_are_found():
    assert not activations.check(Steep(s=2.0, M=1.5)).wrong
    for act, name in (
        (Steep(said=0.5), "saturation"),
        (Steep(said=1.5), "saturation"),
        (Bent(), "concave"),
    ):
        with pytest.raises(ActivationError, match=name):
            activations.check(act)
        with pytest.raises(ActivationError, match=name):
            Subhomogeneous(act, 1.01, ())


def thomson(a, b):
    return np.max(np.abs(np.log(a) - np.log(b)), axis=-1)


@pytest.mark.quick("tanh-*", "relu6-1000*")
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", SATURATING)
def test_every_step_comes_closer_in_thomsons_metric(x64, name, scale):
    act, rng = activations.get(name), np.random.default_rng(0)
    cell = PositiveCell(6, act, rngs=nnx.Rngs(0), dtype=jnp.float64)
    cell.V[...] *= scale
    b = jnp.asarray(rng.standard_normal((50, 6)))
    y, z = (jnp.asarray(np.exp(5 * rng.standard_normal((50, 6)))) for _ in range(2))
    before, after = thomson(y, z), thomson(cell(y, b), cell(z, b))
    mu = cell.guarantee().rate(0.0)
    assert np.all(after <= mu * before + 1e-12)


@pytest.mark.quick("tanh")
@pytest.mark.parametrize("name", SATURATING)
def test_weights_of_norm_beyond_a_hundred_always_converge(name):
    cell = PositiveCell(32, activations.get(name), gain=200.0, rngs=nnx.Rngs(0))
    assert np.linalg.norm(np.square(cell.V), 2) > 100
    b = jnp.asarray(np.random.default_rng(0).standard_normal((64, 32)), jnp.float32)
    deq = DEQ(cell, solver="picard(max_steps=60)")
    near, far = deq(b).check(), deq(b, 1e3 * jnp.ones_like(b)).check()
    np.testing.assert_allclose(near.value, far.value, rtol=1e-3)
    assert np.all(near.value > 0)


def test_the_bound_is_that_of_the_activation_and_needs_finite_weights():
    guarantee = Subhomogeneous(activations.get("tanh"), 1.01, ())
    mu = subhomogeneity(activations.get("tanh"), 1.01)
    bound = float(guarantee.bound({"V": jnp.full((2, 2), 1e9)}))
    assert mu <= bound < mu * (1 + 1e-6)
    assert guarantee.sharp_bound({"V": jnp.ones((2, 2))}) == mu
    assert math.isnan(float(guarantee.bound({"V": jnp.full((2, 2), jnp.inf)})))


def test_a_model_of_an_activation_without_one_is_refused():
    with pytest.raises(ValueError, match="declares no saturation"):
        SubDEQ((4,), 2, activation="gelu", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"shift must be a finite number >= 0"):
        SubDEQ((4,), 2, shift=-1.0, rngs=nnx.Rngs(0))
