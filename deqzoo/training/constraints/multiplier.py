"""Hold a quantity at a limit by a Lagrange multiplier that plays against the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import jax
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.core import spectral
from deqzoo.core.regularizer import Regularizer
from deqzoo.games import with_multipliers
from deqzoo.games.multipliers import Inequality
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.guarantees.contraction import Contraction
from deqzoo.nn.model import Model
from deqzoo.nn.nonlinearity import learned_activations
from deqzoo.settings import In, SettingError
from deqzoo.training.constraint import Constraint, Trained

__all__ = ["Multiplier"]

BOUND, LIPSCHITZ = "bound", "lipschitz"


@dataclass(frozen=True)
class Multiplier(Constraint):
    """Competitive mirror descent on L(θ) + λ (q(θ) - limit) with λ > 0: θ goes down, λ goes up.

    Where it settles q is at its limit or λ is nearly zero, and λ tells by how much the loss would
    fall for a unit more of the limit. On the way q may exceed the limit a little: nothing is
    enforced, and whoever wants L‖W‖₂ < 1 after every step takes ``projection``. It costs one
    gradient of q a step, and two more updates of the optimizer.

    Attributes:
        of: q. ``bound``: the bound of every guarantee of the model, a multiplier each.
            ``lipschitz``: ‖A‖₂‖U‖₂L/(1 - L‖W‖₂) from scaled inputs to outputs, of a model with
            affine ends whose cell contracts. Or the recipe of a regularizer, such as
            ``jacobian_norm``: its value at the equilibria of the first examples, solved anew in
            every step, with random directions drawn once.
        limit: of q.
        alpha: weight of the potential of λ, whose step size is the inverse. A wide range does; the
            smaller, the nearer q stays to its limit.
        start: the first λ.
        examples: of the training split, where q is a regularizer.

    References:
        Schäfer, Anandkumar and Owhadi, "Competitive Mirror Descent", arXiv 2006.10179; closed form
        and use with any optimizer: deqzoo (``deqzoo.games.with_multipliers``).
    """

    of: str = BOUND
    limit: Annotated[float, In("(0, inf)")] = 0.95
    alpha: Annotated[float, In("(0, inf)")] = 0.01
    start: Annotated[float, In("(0, inf)")] = 0.01
    examples: Annotated[int, In("[1, inf)")] = 128

    def __post_init__(self):
        super().__post_init__()
        if self.of in (BOUND, LIPSCHITZ):
            return
        steps = self._regularizer.trajectory()
        if steps:
            raise SettingError(
                f"of={self.of!r} looks at iterates {steps} of the solver, which a constraint has "
                "not: use it as --regularizer, or hold jacobian_norm"
            )

    @property
    def needs_guarantee(self):
        """Where q is the bound of one."""
        return self.of == BOUND

    def require(self, model):
        """Something that has q.

        Raises:
            SettingError: there is nothing.
        """
        super().require(model)
        if self.of == LIPSCHITZ and (model.ends() is None or _contraction(model) is None):
            raise SettingError(
                f"needs affine stem and head and a cell with L‖W‖₂ < 1, and {type(model).__name__} "
                "is no such model: use --model=classifier or wide, or lben, whose Lipschitz bound "
                "holds by construction"
            )

    def apply(self, parameters, guarantees):
        """The parameters as they are: the multiplier acts on gradients."""
        del guarantees
        return parameters

    def around(self, transform, learning_rate, trained):
        """The optimizer with multipliers, or as it is where all holds by construction."""
        inequalities = [*self._inequalities(trained)]
        if not inequalities:
            return transform
        return with_multipliers(transform, inequalities, learning_rate, self.alpha, self.start)

    def _inequalities(self, trained: Trained) -> Iterator[Inequality]:
        """Functions of the parameters that are at most 0 where q is at most its limit."""
        if self.of == BOUND:
            held = (each for each in trained.guarantees if not each.by_construction)
            yield from (self._bound(each) for each in held)
        elif self.of == LIPSCHITZ:
            yield lambda parameters: self._lipschitz(trained.model(parameters), parameters)
        else:
            x = trained.data.at(slice(self.examples)).x
            outputs = lambda parameters: trained.model(parameters)(x)[0]  # noqa: E731
            told = lambda p: self._regularizer.of_outputs(outputs, p)  # noqa: E731
            yield lambda p: self._penalty(told(p), trained.model(p), x)

    def _bound(self, guarantee: Guarantee) -> Inequality:
        return lambda parameters: guarantee.bound(parameters) - self.limit

    def _lipschitz(self, model: Model, parameters: dict[str, Any]) -> Float[Array, ""]:
        """‖A‖₂‖U‖₂L/limit + L‖W‖₂ - 1, which has no pole at L‖W‖₂ = 1."""
        contraction, ends = _contraction(model), model.ends()
        assert contraction is not None  # as require has seen
        assert ends is not None
        outer = spectral.norm_upper_bound(ends.A) * spectral.norm_upper_bound(ends.U)
        share = contraction.activation.lipschitz / self.limit
        return outer * share + contraction.bound(parameters) - 1

    @property
    def _regularizer(self) -> Regularizer:
        return catalog.regularizers.get(self.of)

    def _penalty(self, regularizer: Regularizer, model: Model, x: Any) -> Float[Array, ""]:
        told = regularizer.of_activations(learned_activations(model))
        fn = model.deq.map(model.injection(x))
        return told(fn, model(x)[1], jax.random.key(0)) - self.limit


def _contraction(model: Model) -> Contraction | None:
    """That of its cell."""
    found = (each for each in model.guarantees() if isinstance(each, Contraction))
    return next(found, None)
