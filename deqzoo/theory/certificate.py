"""A certificate: every hypothesis with its numbers, what follows, and what would mend a failure."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from deqzoo.activation.digits import at_least, at_most
from deqzoo.shown import Shown, Table
from deqzoo.theory.bounds import GramBounds
from deqzoo.theory.conditions import Measured
from deqzoo.theory.error import TheoryError
from deqzoo.theory.prediction import TangentPrediction

THEOREM_A = "Theorem A (deqzoo)"
WELL_POSED = "unique equilibrium"
RELATIONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_UNSAFE = 1e12


@dataclass(frozen=True)
class Condition:
    """One line: an inequality with both sides, and advice where it fails.

    Attributes:
        name: the left-hand side in symbols, or a statement.
        holds: whether it was found to hold; False also where it could not be evaluated.
        have: the measured side, or None for a statement.
        relation: ``>=``, ``<=``, ``<`` or ``>``.
        need: the other side.
        advice: what would mend it.
    """

    name: str
    holds: bool
    have: float | None = None
    relation: str = ""
    need: float | None = None
    advice: str = ""

    @property
    def factor(self) -> float:
        """By what factor it fails: above 1 exactly where it does; NaN for a statement."""
        if self.have is None or self.need is None or math.isnan(self.have + self.need):
            return math.nan
        large, small = (
            (self.need, self.have) if self.relation in (">=", ">") else (self.have, self.need)
        )
        return large / small if small > 0 else (math.inf if large > 0 else math.nan)

    def __str__(self) -> str:
        line = f"  {'ok  ' if self.holds else 'FAIL'} {self.name}"
        if self.have is not None and self.need is not None:
            line = f"{line:<48} {_inequality(self.have, self.relation, self.need)}"
        if not self.holds and 1 < self.factor < _UNSAFE:
            line += f"   (by a factor {at_least(self.factor, 3)})"
        return line + (f"\n         -> {self.advice}" if self.advice and not self.holds else "")


def _inequality(have: float, relation: str, need: float) -> str:
    """Both sides rounded against the inequality, with as many digits as it takes to be true."""
    holds = RELATIONS[relation]
    up, down = at_least, at_most
    one, other = (down, up) if relation in (">=", ">") else (up, down)
    for digits in range(6, 16):
        left, right = one(have, digits), other(need, digits)
        if not holds(have, need) or holds(float(left), float(right)):
            return f"{left} {relation} {right}"
    return f"{have!r} {relation} {need!r}"


def compare(name: str, have: float, relation: str, need: float, advice: str = "") -> Condition:
    """A condition judged from its two sides; NaN fails."""
    holds = RELATIONS[relation](have, need)
    return Condition(name, bool(holds), float(have), relation, float(need), advice)


@dataclass(frozen=True)
class Theorem:
    """A statement with its hypotheses.

    Attributes:
        name: the statement and whose it is.
        conditions: the hypotheses that were examined.
        claims: whether the statement follows once they all hold; False where only the hypotheses
            are known here, and for estimates.
    """

    name: str
    conditions: tuple[Condition, ...]
    claims: bool = True

    @property
    def holds(self) -> bool:
        """Whether every hypothesis holds."""
        return all(condition.holds for condition in self.conditions)

    @property
    def verdict(self) -> str:
        """``holds``, ``hypotheses met`` or ``NOT MET``."""
        return ("holds" if self.claims else "hypotheses met") if self.holds else "NOT MET"

    def __str__(self) -> str:
        return "\n".join([f" {self.name}: {self.verdict}", *map(str, self.conditions)])


@dataclass(frozen=True)
class Descent:
    """What a convergence theorem gives: Φ(τ) <= (1 - ηλ_0/2)^τ Φ(0) for 0 < η <= ``learning_rate``.

    Attributes:
        delta: neither W nor a moves further (Frobenius norm) from its start; for U see
            ``conditions.travel_of_u``.
        lambda_0: λ_min(G) at the start; it stays above half of this.
        learning_rate: the largest certified step.
    """

    delta: float
    lambda_0: float
    learning_rate: float

    def rate(self, learning_rate: float | None = None) -> float:
        """1 - ηλ_0/2."""
        step = self.learning_rate if learning_rate is None else learning_rate
        return 1 - step * self.lambda_0 / 2


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """What is proved of gradient descent from this start, and what is only predicted.

    ``print(certificate)`` shows every line; ``to_json`` gives its text.

    Attributes:
        title: the network or limit it speaks of.
        theorems: every statement with its hypotheses.
        measured: the numbers behind them; None where inputs or weights were unusable.
        loss: Φ(0) = ½‖ŷ - y‖²; NaN if it could not be evaluated.
        descent: the guarantee of Theorem A where it holds, else None.
        a_priori: the guarantee of the a-priori condition (Ling's form) where it holds, else None.
        prediction: the tangent-kernel prediction of the loss, or None.
        population: eigenvalues and bounds of the population Gram matrix, or None.
        label_scale: labels times this would be certified with a zero readout; 0 if none would.
        is_estimate: whether the numbers are those of the infinite-width limit; such a certificate
            certifies no network.
    """

    title: str
    theorems: tuple[Theorem, ...]
    measured: Measured | None = None
    loss: float = math.nan
    descent: Descent | None = None
    a_priori: Descent | None = None
    prediction: TangentPrediction | None = None
    population: GramBounds | None = None
    label_scale: float = 0.0
    is_estimate: bool = False

    @property
    def certified(self) -> bool:
        """Whether Theorem A holds for this very network."""
        return self.descent is not None and not self.is_estimate

    def theorem(self, name: str) -> Theorem:
        """The statement whose name begins so."""
        return next(each for each in self.theorems if each.name.startswith(name))

    def bound(self, steps: Sequence[int], learning_rate: float | None = None):
        """The certified bound (1 - ηλ_0/2)^τ Φ(0) at every step τ.

        Raises:
            TheoryError: nothing is certified, or the learning rate is beyond what is.
        """
        if self.descent is None or self.is_estimate:
            raise TheoryError(f"{self.title} is not certified: there is no bound to draw")
        if learning_rate is not None and not 0 < learning_rate <= self.descent.learning_rate:
            raise TheoryError(
                "the certificate covers learning rates in (0, "
                f"{at_most(self.descent.learning_rate)}], got {learning_rate}"
            )
        rate = self.descent.rate(learning_rate)
        return _powers(rate, steps) * self.loss

    def shown(self) -> Table:
        """The verdict on every theorem, and what follows; ``print`` has all lines."""
        verdicts = [(theorem.verdict, theorem.name) for theorem in self.theorems]
        follows = [("=>", line.removeprefix("=> ")) for line in self._conclusions()]
        return Table(self.title, (*verdicts, *follows))

    def __str__(self) -> str:
        parts = [self.title, *map(str, self.theorems)]
        if self.population is not None:
            parts += [" population Gram matrix (infinite width):", str(self.population)]
        return "\n".join([*parts, *self._conclusions()])

    def _conclusions(self) -> list[str]:
        lines = []
        if self.is_estimate:
            lines.append(
                "=> an estimate from the infinite-width limit; only a drawn network can be "
                "certified"
            )
        elif self.descent is None:
            lines.append("=> NOT CERTIFIED: no statement about gradient descent follows")
        else:
            step, half = self.descent.learning_rate, self.descent.lambda_0 / 2
            lines.append(
                f"=> CERTIFIED by {THEOREM_A}: full-batch gradient descent with a step 0 < η <= "
                f"{at_most(step)} has Φ(τ) <= (1 - {at_most(half)} η)^τ Φ(0); at the largest step "
                f"the rate is 1 - {at_most(step * half)}"
            )
        if self.prediction is not None:
            step = self.prediction.learning_rate
            lines.append(
                f"=> predicted (tangent kernel, not certified): at η = 1/μ_max = {step:.6g} the "
                f"loss falls by a factor {self.prediction.rate(step):.6g} a step in the end"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = _plain(dataclasses.asdict(self))
        for each, theorem in zip(values["theorems"], self.theorems, strict=True):
            each["holds"] = theorem.holds
            for line, condition in zip(each["conditions"], theorem.conditions, strict=True):
                line["factor"] = _plain(condition.factor)
        if self.descent is not None:
            values["descent"]["rate"] = self.descent.rate()
        return {"certified": self.certified, **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Certificate:
        """Undo ``to_dict``, also of JSON read back.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of a certificate.
        """
        values = {key: item for key, item in values.items() if key != "certified"}
        theorems = tuple(_theorem(each) for each in values.pop("theorems"))
        parts = {
            "measured": Measured,
            "descent": Descent,
            "a_priori": Descent,
            "prediction": TangentPrediction,
            "population": GramBounds,
        }
        built = {name: _built(kind, values.pop(name)) for name, kind in parts.items()}
        rest = {name: _number(value) for name, value in values.items()}
        loss = math.nan if rest["loss"] is None else rest["loss"]
        return cls(theorems=theorems, **{**rest, **built, "loss": loss})

    def to_json(self) -> str:
        """The certificate as JSON text; NaN becomes null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _powers(rate: float, steps: Sequence[int]) -> Float[np.ndarray, " steps"]:
    return np.exp(np.asarray(steps, np.float64) * math.log1p(rate - 1))


def _theorem(values: dict[str, Any]) -> Theorem:
    conditions = tuple(_built(Condition, each) for each in values["conditions"])
    return Theorem(values["name"], conditions, values["claims"])


def _built(kind: Any, values: dict[str, Any] | None) -> Any:
    """The dataclass of these values; those it derives by itself are left out."""
    if values is None:
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: _number(values[name]) for name in names})


def _number(value: Any) -> Any:
    """Undo ``_plain``: lists are arrays, and infinity is a number."""
    if isinstance(value, list):
        return np.array(value, np.float64)
    return float(value) if value in ("inf", "-inf") else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
