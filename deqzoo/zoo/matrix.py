"""Every model beside every activation: whose guarantee held in training, who is not admitted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deqzoo import catalog
from deqzoo.activation.digits import at_least
from deqzoo.runs.fit import fit
from deqzoo.training.promises import guarantees
from deqzoo.training.promises.largest_bound import LargestBound
from deqzoo.zoo.create_model import create_model

_BATCH = 64
# Smaller than by default; others are taken as they are.
_SMALL = {
    **{
        name: f"{name}(width=16)"
        for name in ("classifier", "implicit", "lben", "mondeq", "opteq", "subdeq", "wide")
    },
    "conv_mondeq": "conv_mondeq(channels=(4,))",
    "convdeq": "convdeq(channels=8)",
    "fno": "fno(channels=4, modes=2, width=8)",
    "inr": "inr(width=16, features=8)",
    "proxnet": "proxnet(channels=4)",
    "multiscale": "multiscale(channels=(4, 8))",
    "causal": "causal(width=16, embedding=8)",
    "implicit_rnn": "implicit_rnn(width=16)",
}


@dataclass(frozen=True)
class Pair:
    """A model with an activation.

    Attributes:
        model: its name.
        activation: its name.
        quantity: what is bounded, in symbols; "" where the pair is not admitted.
        bound: the largest that was proved, in float64, at the start and after every step.
        steps: of training.
        reason: why the pair is not admitted.
    """

    model: str
    activation: str
    quantity: str = ""
    bound: float = math.nan
    steps: int = 0
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether the guarantee held at the start and after every step."""
        return self.bound < 1


def measure_pair(model: str, activation: str, steps: int) -> Pair:
    """Train a small model, and bound after every step what the guarantee bounds.

    On digits, or where it does not take images, on the task that its class names.

    Args:
        model: a name of the catalog.
        activation: likewise.
        steps: of Adam, 64 examples or all that there are each, at a learning rate of 0.01.

    Example:
        >>> from deqzoo.zoo.matrix import measure_pair
        >>> measure_pair("mondeq", "identity", 1).reason
        'Identity() is affine and has no sector: use one that bends'
    """
    task = catalog.models.load(model).example_task
    try:
        drawn = create_model(_SMALL.get(model, model), task, activation=activation)
    except ValueError as error:
        reason = " ".join(str(error).split()).partition(": ")[2] or str(error)
        return Pair(model, activation, reason=reason)
    if not drawn.guarantees():
        return Pair(model, activation, reason="nothing is proved (level C)")
    bounds = LargestBound(drawn)
    fit(
        drawn,
        task,
        observers=[bounds],
        steps=steps,
        batch_size=min(_BATCH, catalog.tasks.get(task).load().train.examples),
        learning_rate=0.01,
        eval_every=steps,
        checkpoint_every=steps,
    )
    return Pair(model, activation, guarantees.quantity(drawn.guarantees()), bounds.largest, steps)


def measure_all(models: Sequence[str], names: Sequence[str], steps: int) -> Iterator[Pair]:
    """All pairs, one after another."""
    for model in models:
        for name in names:
            yield measure_pair(model, name, steps)


def page(pairs: Iterable[Pair]) -> str:
    """Markdown: a row an activation, a column a model."""
    table: dict[str, dict[str, Pair]] = {}
    for pair in pairs:
        table.setdefault(pair.activation, {})[pair.model] = pair
    models = [*next(iter(table.values()))]
    every = [pair for row in table.values() for pair in row.values()]
    reasons = [*dict.fromkeys(_kind(pair) for pair in every if pair.reason)]
    mark = {reason: f"({number + 1})" for number, reason in enumerate(reasons)}
    told = lambda pair: mark[_kind(pair)] if pair.reason else at_least(pair.bound, 4)  # noqa: E731
    rows = [
        f"| `{name}` | {' | '.join(told(row[model]) for model in models)} |"
        for name, row in table.items()
    ]
    admitted = [pair for pair in every if not pair.reason]
    quantities = {pair.model: pair.quantity for pair in admitted}
    return "\n".join(
        [
            "# Every model beside every activation",
            "",
            _WORDS.format(
                command=_command(models),
                admitted=len(admitted),
                kept=sum(pair.holds for pair in admitted),
                steps=max(pair.steps for pair in admitted),
            ),
            "",
            f"| activation | {' | '.join(f'`{model}`' for model in models)} |",
            f"|---|{'---|' * len(models)}",
            f"| bounded | {' | '.join(quantities.get(model, '') for model in models)} |",
            *rows,
            "",
            *(f"{number} {reason}." for reason, number in mark.items()),
            "",
            *_missing(models),
        ]
    )


def _command(models: Sequence[str]) -> str:
    """The one that measures these."""
    is_whole = {*models} >= {*catalog.models.names()}
    flags = () if is_whole else (f"--model={model}" for model in models)
    return " ".join(["python -m launch.zoo matrix", *flags])


def _missing(models: Sequence[str]) -> list[str]:
    """Who has no column."""
    others = [f"`{name}`" for name in catalog.models.names() if name not in models]
    return [f"Not measured here: {', '.join(others)}.", ""] if others else []


def _kind(pair: Pair) -> str:
    """The reason without the name of the activation."""
    act = str(catalog.activations.get(pair.activation))
    return pair.reason.replace(act, "the activation")


_WORDS = (
    "Written by `{command}`. A cell is the largest bound, rounded up, of what "
    "the guarantee of the model speaks of, proved in float64 of the weights as drawn and after "
    "each of {steps} training steps (few units, digits or what the model takes, Adam with a "
    "learning rate of 0.01, the default constraint). Below 1 the theorem of the model holds for "
    "every input. {kept} of {admitted} pairs that are admitted kept it throughout."
)
