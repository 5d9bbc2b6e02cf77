"""A model that learns its activation no more."""

from __future__ import annotations

from flax import nnx

from deqzoo.activation.learnable import Learnable
from deqzoo.nn.model import Model
from deqzoo.nn.nonlinearity import Nonlinearity


def freeze(model: Model) -> Model:
    """A copy with every learnable activation fixed at the parameters it has: the same outputs.

    Where all of them have become one function, that is the activation of the model, with its exact
    bounds; where several differ, the model goes on naming the bounds of the learnable one, which
    hold for all.

    Raises:
        ValueError: units have parameters of their own.

    Example:
        >>> import activations
        >>> from flax import nnx
        >>> from deqzoo.models.wide import Wide
        >>> from deqzoo.nn import freeze
        >>> model = Wide((4,), 1, activation="prelu(init=0.5)", width=8, rngs=nnx.Rngs(0))
        >>> activations.check(freeze(model).activation).wrong
        ()
    """
    copy = nnx.clone(model)
    modules = [each for _, each in nnx.iter_graph(copy) if isinstance(each, nnx.Module)]
    layers = [each for each in modules if isinstance(each, Nonlinearity)]
    fixed = [layer.frozen() for layer in layers if isinstance(layer.activation, Learnable)]
    for layer in layers:
        layer.activation, layer.learned = layer.frozen(), nnx.data({})
    if len(set(fixed)) == 1:
        for module in modules:
            if isinstance(getattr(module, "activation", None), Learnable):
                setattr(module, "activation", fixed[0])  # noqa: B010
    return copy
