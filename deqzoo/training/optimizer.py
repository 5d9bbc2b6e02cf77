"""The contract of an optimizer recipe: a learning rate, its schedule, and optax behind it."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from deqzoo.settings import In, OneOf, validate

Wrapper = Callable[
    [optax.GradientTransformation, optax.ScalarOrSchedule], optax.GradientTransformation
]
NTK, CERTIFIED = "ntk", "certified"
LearningRate = Annotated[float, In("(0, inf)")] | Annotated[str, OneOf(NTK, CERTIFIED)]
_PLAIN = {
    "schedule": "constant",
    "warmup": 0,
    "clip": None,
    "weight_decay": 0.0,
    "accumulate": 1,
    "ema": None,
}


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """g <- clip(mean of ``accumulate`` gradients), θ <- θ - η_t (u(g) + weight_decay θ).

    u is what the member makes of a gradient, η_t the learning rate of update t.

    To write an optimizer, derive a frozen dataclass in a file of ``deqzoo/training/optimizers``,
    give ``learning_rate`` a default and define ``transform``; the other settings below are common
    to all and need nothing from it.

    Attributes:
        learning_rate: step size; or ``"ntk"`` for 1/λ_max of the neural tangent kernel at
            initialisation, the step at which full-batch gradient descent on the square loss
            decreases safely; or ``"certified"`` for the largest step that Theorem A certifies.
        schedule: ``constant``, or ``cosine`` from the learning rate down to zero over the whole
            run, warm-up left out.
        warmup: updates over which the learning rate grows: η_t = η t/warmup for t = 1 ... warmup.
        clip: the largest global norm of a gradient; a longer one is scaled down to it.
        weight_decay: share of the weights taken off per unit of learning rate, past the member's
            own moments (decoupled). Arrays of one axis or none (biases, the scales of norms) are
            spared.
        accumulate: batches an update: so many steps make one update with the gradient of all their
            examples, a mean where the loss is a mean and a sum where it is a sum.
        ema: the run is evaluated, saved and loaded at the average θ̄ <- ema θ̄ + (1 - ema) θ, taken
            after every update from the initial weights on; in [0, 1).

    References:
        Pascanu et al., arXiv 1211.5063 (clip); Loshchilov and Hutter, arXiv 1711.05101
        (weight_decay); Polyak and Juditsky, SIAM J. Control Optim. 30 (1992) (ema).
    """

    learning_rate: LearningRate = field(default=1e-3, kw_only=True)
    schedule: Annotated[str, OneOf("constant", "cosine")] = field(default="constant", kw_only=True)
    warmup: Annotated[int, In("[0, inf)")] = field(default=0, kw_only=True)
    clip: Annotated[float, In("(0, inf)")] | None = field(default=None, kw_only=True)
    weight_decay: Annotated[float, In("[0, inf)")] = field(default=0.0, kw_only=True)
    accumulate: Annotated[int, In("[1, inf)")] = field(default=1, kw_only=True)
    ema: Annotated[float, In("[0, 1)")] | None = field(default=None, kw_only=True)

    def __post_init__(self):
        validate(self)

    @abc.abstractmethod
    def transform(self, learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
        """The optax transformation for a resolved learning rate or schedule."""

    def seeded(self, learning_rate: Any, seed: Any) -> optax.GradientTransformation:
        """``transform`` for the run of a seed; a member that draws overrides it.

        Args:
            learning_rate: as of ``transform``.
            seed: which may be traced.
        """
        del seed
        return self.transform(learning_rate)

    @property
    def extras(self) -> list[str]:
        """Those of the common settings that make it more than u with one learning rate."""
        return [name for name, plain in _PLAIN.items() if getattr(self, name) != plain]

    def with_learning_rate(self, learning_rate: float | str | None) -> Optimizer:
        """The same optimizer with another learning rate; None keeps its own."""
        return self if learning_rate is None else replace(self, learning_rate=learning_rate)

    def require_room(self, steps: int) -> None:
        """Refuse a run of ``steps`` steps that would end in the warm-up, or before any update.

        Raises:
            ValueError: it would.
        """
        updates = self._updates(steps)
        if self.warmup >= updates:
            raise ValueError(
                f"the run has {updates} updates ({steps} steps, accumulate={self.accumulate}): "
                f"warmup={self.warmup} must be below that"
            )

    def build(self, steps: int, *, sums: bool = False) -> optax.GradientTransformation:
        """The transformation for a run of ``steps`` steps; the learning rate must be a number."""
        if isinstance(self.learning_rate, str):
            raise ValueError(
                f"the learning rate {self.learning_rate!r} must be resolved to a number first"
            )
        return self.at(self.learning_rate, steps, sums=sums)

    def at(
        self,
        learning_rate: Any,
        steps: int,
        *,
        sums: bool = False,
        seed: Any = 0,
        around: Wrapper | None = None,
    ) -> optax.GradientTransformation:
        """The transformation at a learning rate, which may be a traced number.

        Args:
            learning_rate: η.
            steps: of the run; ``accumulate`` of them are one update.
            sums: whether the loss of several batches is the sum of theirs, and not the mean.
            seed: of what is drawn.
            around: what is made of the transformation of one update and of its η_t.
        """
        rate = self.rate(learning_rate, steps)
        parts = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        parts += [self.seeded(rate, seed), *self._decay(rate)]
        transform = optax.chain(*parts) if len(parts) > 1 else parts[0]
        transform = transform if around is None else around(transform, rate)
        if self.accumulate == 1:
            return transform
        widest = jnp.result_type(float)
        return optax.MultiSteps(
            transform, self.accumulate, use_grad_mean=not sums, accumulator_dtype=widest
        ).gradient_transformation()

    def rate(self, learning_rate: Any, steps: int) -> optax.ScalarOrSchedule:
        """η_t as a function of the updates before, or the one learning rate."""
        if self.schedule == "cosine":
            updates = self._updates(steps) - self.warmup
            rest = optax.cosine_decay_schedule(learning_rate, updates)
        else:
            rest = optax.constant_schedule(learning_rate)
        if self.warmup == 0:
            return learning_rate if self.schedule == "constant" else rest
        first = learning_rate / self.warmup
        rise = optax.linear_schedule(first, learning_rate, max(self.warmup - 1, 1))
        return optax.join_schedules([rise, rest], [self.warmup])

    def _updates(self, steps: int) -> int:
        return steps // self.accumulate

    def _decay(self, rate: Any) -> list[optax.GradientTransformation]:
        if self.weight_decay == 0:
            return []
        share: Any = -self.weight_decay
        scaled = (lambda count: share * rate(count)) if callable(rate) else share * rate
        return [optax.add_decayed_weights(scaled, mask=_are_matrices)]


def _are_matrices(parameters: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, parameters)
