"""What a model gives for one example, found without computing anything."""

from __future__ import annotations

from typing import Any

import jax

from deqzoo.data.spec import described
from deqzoo.nn.pure_model import PureModel


def output_shape(pure: PureModel, spec: Any) -> tuple[int, ...]:
    """The shape of the outputs of an example, by tracing the model.

    Args:
        pure: the model.
        spec: of an example.

    Raises:
        ValueError: the model cannot take such examples.

    Example:
        >>> from flax import nnx
        >>> from deqzoo.data.spec import Spec
        >>> from deqzoo.models.classifier import Classifier
        >>> from deqzoo.nn.output_shape import output_shape
        >>> from deqzoo.nn.pure_model import PureModel
        >>> output_shape(PureModel(Classifier((4,), 3, rngs=nnx.Rngs(0))), Spec((4,)))
        (3,)
    """
    x = jax.tree.map(lambda each: jax.ShapeDtypeStruct((1, *each.shape), each.dtype), spec)
    try:
        outputs, _ = jax.eval_shape(pure, pure.state, x)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"the model cannot take examples of {described(spec)}: {reason}. It may have been "
            "built for others"
        ) from error
    return outputs.shape[1:]
