"""Whether a model's outputs have the shape that the targets of a task ask for."""

from __future__ import annotations

import jax

from deqzoo.data.examples import Data
from deqzoo.nn.pure_model import PureModel
from deqzoo.training.config import ConfigError


def require_outputs_fit(pure: PureModel, data: Data) -> None:
    """Trace the model on one example; labels (n, ...) need outputs (n, ..., classes).

    Raises:
        ConfigError: the outputs have another shape.
    """
    x = jax.tree.map(lambda spec: jax.ShapeDtypeStruct((1, *spec.shape), spec.dtype), data.spec)
    found = jax.eval_shape(pure, pure.state, x)[0].shape[1:]
    targets = data.train.y.shape[1:]
    expected = targets if data.classes is None else (*targets, data.classes)
    if found != expected:
        raise ConfigError(
            f"the model gives an output of shape {found} for an example, and its {data.kind} of "
            f"shape {targets} ask for {expected}: choose another --model, or reshape y"
        )
