"""The best constants of a heavy ball from the ends of the spectrum of the tangent kernel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from deqzoo.data.examples import Split
from deqzoo.data.loss import Loss
from deqzoo.nn.model import Model
from deqzoo.training.config import FULL, ConfigError, TrainConfig
from deqzoo.training.optimizer import Optimizer
from deqzoo.training.optimizers.heavy_ball import HeavyBall
from deqzoo.training.promises.certified import require_wide_square

ROOM = 1.25  # for the largest eigenvalue to grow in; at 1, growth of 0.2 % drove some away


def is_tuned(optimizer: Optimizer) -> bool:
    """Whether its constants are to be found at the start of the run."""
    return isinstance(optimizer, HeavyBall) and optimizer.tuned


def require_tunable(config: TrainConfig, model: Model, loss: Loss) -> None:
    """See that there is one quadratic to be tuned to, and nothing that contradicts it.

    Raises:
        ConfigError: there is not.
    """
    if config.batch_size != FULL:
        raise ConfigError(
            "heavy_ball(tuned=True) is tuned to the loss of all examples: add --batch_size=full, "
            "or give beta and learning_rate"
        )
    if config.learning_rate is not None:
        raise ConfigError(
            f"heavy_ball(tuned=True) finds its step size: leave --learning_rate="
            f"{config.learning_rate} out, or tuned"
        )
    try:
        require_wide_square(model, loss)
    except ConfigError as error:
        raise ConfigError(f"heavy_ball(tuned=True) reads a tangent kernel: {error}") from None


def tuned(
    optimizer: Optimizer, config: TrainConfig, model: Model, loss: Loss, train: Split
) -> Optimizer:
    """The same with η and β of a quadratic that has the eigenvalues of the tangent kernel.

    Raises:
        ConfigError: the kernel is singular, so that there are no best constants.
    """
    require_tunable(config, model, loss)
    wide, _ = require_wide_square(model, loss)
    kernel = wide.network().tangent_kernel(train.x)
    low, *_, high = np.linalg.eigvalsh(kernel) if len(kernel) > 1 else [*kernel[0], *kernel[0]]
    if low <= len(kernel) * np.finfo(float).eps * high:
        raise ConfigError(
            f"the tangent kernel of {len(train.x)} examples is singular (eigenvalues from {low:.3g}"
            f" to {high:.3g}): two of them may be equal; give beta and learning_rate"
        )
    rate, beta = best_constants(float(low), ROOM * float(high))
    return replace(optimizer, learning_rate=rate, beta=beta, tuned=False)


def best_constants(low: float, high: float) -> tuple[float, float]:
    """η and β for a quadratic whose Hessian has its eigenvalues in [low, high], 0 < low <= high.

    Above high (1 + (1 - √β)²/4) it diverges, which is near: take more than the largest eigenvalue
    where the Hessian moves.

    Example:
        >>> from deqzoo.training.promises.tuned import best_constants
        >>> best_constants(1.0, 9.0)
        (0.25, 0.25)
    """
    slow, fast = math.sqrt(low), math.sqrt(high)
    return 4 / (fast + slow) ** 2, ((fast - slow) / (fast + slow)) ** 2
