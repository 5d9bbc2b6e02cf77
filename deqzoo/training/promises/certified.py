"""Certificates in training: when one can be had, and what the run must be for it to speak of it."""

from __future__ import annotations

from typing import Any

from deqzoo import catalog
from deqzoo.activation.learnable import Learnable
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.adjoints.implicit import Implicit
from deqzoo.data.examples import Data
from deqzoo.data.loss import Loss
from deqzoo.data.losses.square import Square
from deqzoo.nn.model import Model
from deqzoo.theory import Certificate, InitialisationError, TheoremNetwork, certify, start_from
from deqzoo.training.config import FULL, ConfigError, TrainConfig
from deqzoo.training.optimizer import CERTIFIED, Optimizer
from deqzoo.training.optimizers.gd import GD

_RTOL = 1e-8  # of equilibria whose error is far below the certified decrease of a step


def is_asked_for(config: TrainConfig, optimizer: Optimizer) -> bool:
    """Whether these settings need a certificate."""
    return config.certify or CERTIFIED in (config.init, optimizer.learning_rate)


def require_wide_square(model: Model, loss: Loss) -> tuple[TheoremNetwork, Square]:
    """The model and loss, which must be those that the theorems speak of.

    Raises:
        ConfigError: another model or loss, or an activation that is learned.
    """
    if not (isinstance(model, TheoremNetwork) and isinstance(loss, Square)):
        raise ConfigError(
            "a certificate speaks of the wide DEQ and the square loss: use --model=wide "
            f"--loss=square (got {type(model).__name__} and {loss})"
        )
    if isinstance(model.activation, Learnable):
        raise ConfigError(
            f"a certificate speaks of one activation, and {model.activation} is learned along with "
            "the weights: train, then certify run.model.network(), whose activation is frozen, or "
            "take another one"
        )
    return model, loss


def certified_init(model: Model, loss: Loss, x: Any, y: Any) -> tuple[Square, tuple[str, ...]]:
    """Zero the readout in place; the loss with targets small enough, and what was done.

    Raises:
        ConfigError: no targets would be certified, or another model or loss.
    """
    wide, square = require_wide_square(model, loss)
    network = wide.network()
    try:
        start = start_from(network, x, square.targets(y, len(network.a)))
    except InitialisationError as error:
        raise ConfigError(f"--init=certified: {error}") from None
    wide.load_network(start.network)
    return Square(square.target_scale * start.label_scale), start.log


def certificate_of(model: Model, loss: Loss, x: Any, y: Any) -> Certificate:
    """The certificate of the model as it is, for the targets of the loss.

    Raises:
        ConfigError: another model or loss.
    """
    wide, square = require_wide_square(model, loss)
    network = wide.network()
    return certify(network, x, square.targets(y, len(network.a)))


def is_descent(config: TrainConfig, optimizer: Optimizer, data: Data) -> bool:
    """Whether the run is gradient descent on the full batch, as it is, with one step size."""
    plain = isinstance(optimizer, GD) and not optimizer.extras and data.augmentation is None
    return plain and config.batch_size == FULL


def what_is_missing(config: TrainConfig, optimizer: Optimizer, data: Data) -> list[str]:
    """Why the theorem does not speak of this run, a phrase each; empty if it does."""
    solver = catalog.solvers.get(config.solver)
    exact = solver.atol == 0 and (solver.rtol is None or solver.rtol <= _RTOL)
    rules = (
        (isinstance(optimizer, GD), "--optimizer=gd"),
        (not optimizer.extras, f"an optimizer without {', '.join(optimizer.extras)}"),
        (config.batch_size == FULL, "--batch_size=full"),
        (data.augmentation is None, "a task without shift and flip (every step sees other images)"),
        (config.constraint == "monitor", "--constraint=monitor (others may move W)"),
        (config.dtype == "float64", "--precision=float64 (the certified decrease is too small)"),
        (exact, f"a solver with atol = 0 and rtol <= {_RTOL:g}"),
        (_is_exact(catalog.adjoints.get(config.adjoint)), f"--adjoint=implicit, rtol <= {_RTOL:g}"),
        (config.regularizer is None, "no --regularizer (the bound is that of the loss alone)"),
    )
    return [phrase for kept, phrase in rules if not kept]


def _is_exact(adjoint: Adjoint) -> bool:
    """Whether the gradient is that of the equilibrium, as far as a solve can tell."""
    if not isinstance(adjoint, Implicit) or isinstance(adjoint.solver, str):
        return False
    return adjoint.solver.rtol is None or adjoint.solver.rtol <= _RTOL


def certified_step(certificate: Certificate, missing: list[str]) -> float:
    """The largest certified learning rate.

    Raises:
        ConfigError: the run is not what the theorem speaks of, or nothing is certified.
    """
    if missing:
        raise ConfigError(f"--learning_rate=certified also needs {', '.join(missing)}")
    if certificate.descent is None:
        raise ConfigError(
            f"--learning_rate=certified, but Theorem A does not hold:\n{certificate}\n"
            "--init=certified sets the readout to zero and scales the targets down"
        )
    return certificate.descent.learning_rate
