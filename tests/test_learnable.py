"""A learnable activation keeps its bounds whatever it learns, and is ordinary when frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo import load_run
from deqzoo.activation.check import ActivationError
from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable
from deqzoo.models.wide import Wide
from deqzoo.nn import DEQ, ConvCell, Nonlinearity, PureModel, freeze
from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.workdir import Workdir
from deqzoo.testing import check_activation
from deqzoo.theory import certify
from deqzoo.training import ConfigError, TrainConfig, Training, train

RECIPES = ("prelu", "prelu(low=-0.5, high=2.0, init=1.0)", "prelu(per_unit=True)")
SETTINGS = {
    "width": 16,
    "batch_size": "32",
    "steps": 6,
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 3,
    "learning_rate": "0.1",
}


@dataclass(frozen=True)
class Line(Activation):
    """φ(x) = ax for a number a that was learned."""

    a: float = 1.0

    curvature = 0.0

    def __post_init__(self):
        pass

    def __call__(self, x):
        return self.a * x

    @property
    def slope(self):
        return self.a, self.a


def learnable(recipe) -> Any:
    return activations.get(recipe)


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def settings(folder, **changes):
    return TrainConfig(**{**SETTINGS, "activation": "prelu", "workdir": str(folder), **changes})


def saved(folder, step=6):
    reader = Checkpoints(Workdir(folder).checkpoints, writable=False)
    try:
        return reader.read(step)
    finally:
        reader.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prelu")
    list(train(settings(folder)))
    return load_run(folder)


# The contract.


@pytest.mark.parametrize("value", [-1e6, -0.3, 0.0, 1e-20, 0.6, 1.0, 1.7, 1e6])
@pytest.mark.parametrize("recipe", RECIPES)
def test_frozen_it_is_an_ordinary_activation_with_the_same_values(recipe, value):
    act, x = learnable(recipe), numbers(50)
    parameters = {"negative_slope": jnp.asarray(value, jnp.float32)}
    frozen = act.frozen(parameters)
    assert not isinstance(frozen, Learnable)
    np.testing.assert_array_equal(act.evaluate(parameters, x), frozen(x))
    low, high = act.slope
    assert low <= frozen.slope[0] <= frozen.slope[1] <= high
    assert frozen.curvature <= act.curvature


@pytest.mark.slow
def test_a_frozen_slope_of_its_own_passes_the_kit():
    check_activation(learnable("prelu(high=3.0)").frozen({"negative_slope": 0.37}))


def test_used_as_an_ordinary_activation_it_is_itself_at_the_start():
    act, x = activations.get("prelu(init=0.5)"), numbers(20)
    leaky = activations.get("leaky_relu(negative_slope=0.5)")
    np.testing.assert_array_equal(act(x), leaky(x))
    np.testing.assert_array_equal(act.hermite(9), leaky.hermite(9))
    np.testing.assert_allclose(act.dual(0.3), leaky.dual(0.3), rtol=1e-14)
    assert act(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert act.slope == (0.0, 1.0)


def test_a_slope_beyond_its_range_can_come_back():
    act = learnable("prelu")
    of = lambda p: act.evaluate({"negative_slope": p}, jnp.array([-2.0]))[0]  # noqa: E731
    value, slope = jax.value_and_grad(of)(jnp.array(1.5))
    assert (float(value), float(slope)) == (-2.0, -2.0)
    assert float(jax.grad(of)(jnp.array(0.5))) == -2.0


@pytest.mark.parametrize(
    "recipe", ["prelu(low=0.5)", "prelu(high=0.1)", "prelu(high='inf')", "prelu(low=-1e999)"]
)
def test_an_impossible_range_is_refused(recipe):
    with pytest.raises(ValueError, match="low <= init <= high|must be"):
        activations.get(recipe)


@dataclass(frozen=True)
class Scaled(Learnable):
    """φ(x) = ax with a in [0, 1], as long as nobody has forgotten to clip it."""

    clipped: bool = True
    declared: tuple = (0.0, 1.0)
    exact: bool = True

    curvature = 0.0

    @property
    def slope(self):
        return self.declared

    @property
    def start(self):
        return {"a": 0.5}

    def formula(self, x, *, a):
        return (jnp.clip(a, 0, 1) if self.clipped else a) * x

    def ordinary(self, *, a):
        return Line(float(np.clip(a, 0, 1)) if self.clipped else a * (1.0 if self.exact else 1.01))


@pytest.mark.slow
def test_what_a_plug_in_promises_of_every_parameter_is_measured():
    assert not activations.check(Scaled()).wrong
    with pytest.raises(ActivationError, match="slopes, every parameter"):
        activations.check(Scaled(clipped=False))
    with pytest.raises(ActivationError, match="slopes, every parameter"):
        activations.check(Scaled(declared=(0.0, 0.9)))
    wide = (-1e9, 1e9)
    with pytest.raises(ActivationError, match=r"φ\(x; p\) of every parameter"):
        activations.check(Scaled(clipped=False, declared=wide, exact=False))


# The module.


def test_an_ordinary_activation_has_no_parameter_and_the_same_program():
    act, x = activations.get("gelu"), numbers(4, 3)
    phi = Nonlinearity(act, 3)
    assert not jax.tree.leaves(nnx.state(phi))
    assert phi.frozen() is act
    assert str(jax.make_jaxpr(phi)(x)) == str(jax.make_jaxpr(act)(x))


def test_units_may_learn_slopes_of_their_own():
    phi = Nonlinearity(activations.get("prelu(per_unit=True)"), 3)
    phi.learned["negative_slope"][...] = jnp.array([0.0, 0.5, 7.0])
    found = phi(jnp.full((2, 4, 3), -1.0))
    np.testing.assert_array_equal(found, np.broadcast_to([0.0, -0.5, -1.0], (2, 4, 3)))
    with pytest.raises(ValueError, match=r"got shapes \[\(3,\)\]: units with parameters of their"):
        phi.frozen()


@pytest.mark.slow
def test_a_convolutional_cell_learns_one_for_each_of_its_two_layers():
    cell = ConvCell(4, 8, activation=activations.get("prelu"), groups=2, rngs=nnx.Rngs(0))
    x = numbers(2, 5, 5, 4)
    slope = nnx.grad(lambda deq: jnp.sum(deq(x).value ** 2))(DEQ(cell, solver="picard"))
    for layer in ("inner_phi", "outer_phi"):
        assert float(slope["cell"][layer]["learned"]["negative_slope"][...]) != 0


# A run.


def test_it_is_learned_under_the_bound_that_holds_for_the_whole_range(run):
    phi = run.model.deq.cell.phi
    assert abs(float(phi.learned["negative_slope"][...]) - 0.25) > 0.01
    assert run.model.activation == activations.get("prelu")
    assert 0 < run.summary["bound"] < 1


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(run, tmp_path):
    training = Training(settings(tmp_path))
    list(training.reports(stop=lambda step: step == 4))
    training.save()
    training.close()
    list(train(settings(tmp_path)))
    for a, b in zip(*(jax.tree.leaves(saved(f)) for f in (tmp_path, run.path)), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_frozen_model_gives_the_same_outputs_and_names_the_exact_bounds(run):
    frozen, x = freeze(run.model), numbers(5, 8, 8, 1)
    np.testing.assert_array_equal(frozen(x)[0], run.model(x)[0])
    assert not isinstance(frozen.activation, Learnable)
    assert not activations.check(frozen.activation).wrong
    learned = float(run.model.deq.cell.phi.learned["negative_slope"][...])
    assert frozen.activation.slope == (min(learned, 1.0), 1.0)
    parameters = PureModel(frozen).state.parameters
    assert len(jax.tree.leaves(parameters)) == 5  # of the six of the run
    (guarantee,) = frozen.guarantees()
    assert guarantee.bound(parameters) < 1


def test_a_frozen_network_is_certified_and_a_learned_one_is_refused(tmp_path):
    model = Wide((4,), 1, activation="prelu", width=64, s_a=0.0, rngs=nnx.Rngs(0))
    model.deq.cell.phi.learned["negative_slope"][...] = jnp.float32(0.75)
    network = model.network()
    assert network.activation.slope == (0.75, 1.0)
    x = np.random.default_rng(0).standard_normal((3, 4))
    assert certify(network, x, np.full((3, 1), 1e-9)).certified
    wide = {"model": "wide", "loss": "square", "optimizer": "gd", "batch_size": "full"}
    with pytest.raises(ConfigError, match="a certificate speaks of one activation, and PReLU"):
        Training(settings(tmp_path, certify=True, learning_rate="0.1", **wide))
