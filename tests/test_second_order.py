"""The optimizer heavy_ball: its energy falls, its noise is a seed's, its constants are right."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_training import assert_equal_bits, small

from deqzoo import catalog
from deqzoo.experiments.mean_field import MeanField
from deqzoo.experiments.tuned_descent import TunedDescent
from deqzoo.training import ConfigError, Training
from deqzoo.training.promises.tuned import best_constants

WIDE = {
    "model": "wide",
    "task": "sphere(examples=6, dimension=6)",
    "loss": "square",
    "batch_size": "full",
    "activation": "tanh",
    "width": 32,
    "optimizer": "heavy_ball(tuned=True)",
}


def ball(**settings):
    pairs = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return catalog.optimizers.get(f"heavy_ball({pairs})")


def path(transform, loss, start, steps):
    """Φ and ½‖v‖² before every step."""

    def step(carry, _):
        at, kept = carry
        value, gradient = jax.value_and_grad(loss)(at)
        moved, after = transform.update(gradient, kept, at)
        return (optax.apply_updates(at, moved), after), (value, kept.kinetic)

    run = jax.jit(lambda at: jax.lax.scan(step, (at, transform.init(at)), length=steps)[1])
    return [np.asarray(each) for each in run(start)]


def test_the_energy_falls_by_what_friction_takes_whatever_the_loss():
    with jax.enable_x64(True):
        rng, rises = np.random.default_rng(0), False
        for beta in (0.0, 0.5, 0.9, 0.99):
            w, start = rng.standard_normal((6, 3)), jnp.asarray(rng.standard_normal(3))
            L = float(np.linalg.norm(w, 2)) ** 2  # |sin''| <= 1; not convex
            loss = lambda at, w=w: jnp.sum(jnp.sin(w @ at))  # noqa: E731
            transform = ball(beta=beta, learning_rate=(1 - beta) / L).build(500)
            F, kinetic = path(transform, loss, start, 500)
            E = F + kinetic
            assert np.all(np.diff(E) <= -(1 - beta) * kinetic[:-1] + 1e-13)
            rises |= bool(np.any(np.diff(F) > 1e-6))
        assert rises  # of the loss it would not be true


def test_the_best_constants_are_the_best_of_a_quadratic():
    with jax.enable_x64(True):
        spectrum = np.linspace(0.01, 1.0, 30)
        rate, beta = best_constants(0.01, 1.0)
        norm = []
        for own in ({}, {"beta": beta * 0.9}, {"learning_rate": rate * 0.8}):
            transform = ball(**{"learning_rate": rate, "beta": beta, **own}).build(200)
            loss = lambda at: jnp.sum(spectrum * at**2) / 2  # noqa: E731
            norm.append(path(transform, loss, jnp.ones(30), 200)[0])
        assert norm[0][-1] < min(norm[1][-1], norm[2][-1])
        factor = math.sqrt(norm[0][150] / norm[0][100]) ** (1 / 50)
        assert factor == pytest.approx(math.sqrt(beta), abs=0.02)  # 9/11
        transform = ball(learning_rate=rate, beta=beta).build(3000)
        beyond = 1.01 * (1 + (1 - math.sqrt(beta)) ** 2 / 4)
        loss = lambda at: beyond * at**2 / 2  # noqa: E731
        assert path(transform, loss, jnp.ones(()), 3000)[0][-1] > 1


def test_velocities_settle_at_the_temperature_and_are_drawn_by_the_seed():
    flat = {"W": jnp.zeros((40, 50)), "b": jnp.zeros(500)}
    hot = ball(beta=0.8, temperature=0.3)

    def after(seed, steps=30):
        transform, kept = hot.at(0.1, 100, seed=seed), None
        kept = transform.init(flat)
        for _ in range(steps):
            _, kept = transform.update(flat, kept, flat)
        return kept.velocity

    velocity = after(0)
    for leaf in velocity.values():
        assert np.mean(np.square(leaf)) == pytest.approx(0.3, rel=0.15)
    assert_equal_bits(after(0, 2), after(0, 2))
    traced = jax.jit(lambda seed: after(seed, 1))(jnp.uint32(7))  # as in the lanes of a sweep
    np.testing.assert_allclose(traced["W"], after(7, 1)["W"], rtol=1e-5)
    assert np.all(np.asarray(after(1, 2)["W"] != after(0, 2)["W"]))
    assert np.all(np.asarray(velocity["W"].ravel()[:500] != velocity["b"]))


@pytest.mark.slow
def test_a_run_with_noise_resumes_bit_for_bit_and_tells_its_energy(tmp_path):
    hot = "heavy_ball(temperature=1e-4)"
    whole, parts = (small(tmp_path / name, optimizer=hot) for name in ("whole", "parts"))
    training = Training(whole)
    lines = [line for line in training.reports() if "energy" in line]
    training.close()
    assert lines
    assert all(line["energy"] >= line["loss"] for line in lines)
    stopped = Training(parts)
    for _ in stopped.reports(lambda step: step == parts.checkpoint_every):
        pass
    stopped.save()
    stopped.close()
    resumed = Training(parts)
    for _ in resumed.reports():
        pass
    resumed.close()
    assert_equal_bits(training.state, resumed.state)


def test_tuned_constants_are_found_once_and_stand_in_the_record(tmp_path, monkeypatch):
    config = small(tmp_path, **WIDE)
    training = Training(config)
    record = json.loads((tmp_path / "run" / "config.json").read_text())["resolved"]
    found = training.setup.optimizer
    training.close()
    assert catalog.optimizers.get(record["optimizer"]) == found
    assert record["learning_rate"] == found.learning_rate
    eigenvalues = np.linalg.eigvalsh(
        training.setup.model.network().tangent_kernel(training.setup.train.x)
    )
    expected = best_constants(eigenvalues[0], 1.25 * eigenvalues[-1])
    assert (found.learning_rate, found.beta) == pytest.approx(expected)
    monkeypatch.setattr(np.linalg, "eigvalsh", None)
    again = Training(config)
    again.close()
    assert again.setup.optimizer == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": "4"}, "--batch_size=full"),
        ({"model": "classifier"}, "reads a tangent kernel"),
        ({"learning_rate": 0.1}, "leave --learning_rate=0.1 out"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        Training(small(tmp_path, **{**WIDE, **changes}))


@pytest.mark.slow
def test_the_ball_takes_at_most_a_third_of_the_steps_of_descent():
    row = TunedDescent()._compare("tanh")["row"]
    assert row["heavy ball"] <= row["steps, descent"] / 3


@pytest.mark.slow
def test_the_mean_field_energy_never_rises_and_small_networks_learn():
    row = MeanField(widths=(12,), seeds=10)._compare(12)["row"]
    assert row["largest change of E"] <= 1e-12
    assert row["share of steps in which F rises"] > 0
    assert row["heavy ball"] >= row["learned, descent"]
    assert row["heavy ball"] >= 0.8
