"""What an exported program computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from deqzoo.core.solution import Status
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel

Arrays = list[Any]


def inference(model: Model) -> Callable[[Arrays, Any], tuple[Any, dict[str, Any]]]:
    """(arrays of the model as a list, x) -> (outputs, statistics per example).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.runs.inference import inference
        >>> from deqzoo.models.classifier import Classifier
        >>> from deqzoo.nn import PureModel
        >>> model = Classifier((4,), 3, width=8, rngs=nnx.Rngs(0))
        >>> arrays = jax.tree.leaves(PureModel(model).state)
        >>> outputs, info = inference(model)(arrays, jnp.ones((5, 4)))
        >>> outputs.shape, sorted(info)
        ((5, 3), ['converged', 'residual', 'status', 'steps'])
    """
    pure = PureModel(model)
    structure = jax.tree.structure(pure.state)

    def apply(arrays, x):
        outputs, solution = pure(structure.unflatten(arrays), x)
        stats = solution.stats
        return outputs, {
            "steps": stats.steps,
            "residual": stats.relative_residual,
            "converged": stats.status == Status.CONVERGED,
            "status": stats.status,
        }

    return apply
