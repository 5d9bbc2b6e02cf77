"""Whether a model's outputs have the shape that the targets of a task ask for."""

from __future__ import annotations

from deqzoo.data.examples import Data
from deqzoo.data.metric import CLASSES, TARGETS
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.training.config import ConfigError


def require_outputs_fit(pure: PureModel, data: Data) -> None:
    """Trace the model on one example; labels (n, ...) need outputs (n, ..., classes).

    Raises:
        ConfigError: the model cannot take the examples, or its outputs have another shape.
    """
    try:
        found = output_shape(pure, data.spec)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    targets = data.train.y.shape[1:]
    expected = targets if data.classes is None else (*targets, data.classes)
    if found != expected:
        raise ConfigError(
            f"the model gives an output of shape {found} for an example, and its {_told(data)} of "
            f"shape {targets} ask for {expected}: {_advice(found, expected)}"
        )


def _told(data: Data) -> str:
    if data.classes is None:
        return f"{TARGETS} ({CLASSES} are integers)"
    return f"{CLASSES} 0 ... {data.classes - 1}"


def _advice(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    only_the_head = found[:-1] == expected[:-1]
    what_to_do = f"build it with outputs={expected[-1]}" if only_the_head else "reshape y"
    return f"{what_to_do}, or choose another model"
