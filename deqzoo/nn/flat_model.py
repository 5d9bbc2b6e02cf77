"""The base of models that flatten an example: affine stem, equilibrium, affine head."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.solver import Solver
from deqzoo.data.spec import one_array
from deqzoo.nn.deq import DEQ
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Ends, Model
from deqzoo.nn.spread import read_out_spread


class FlatModel(Model):
    """u = Ux + b, an equilibrium z of a cell that takes u, outputs = A features(z, u) + c.

    A member passes its cell and, where more than z is put out, defines ``features``.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        cell: φ -> the cell, with a method ``guarantee``.
        injected: entries of u.
        width: of the features.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws U, the cell and A in this order.
        dtype: of U, b, A and c.

    Attributes:
        centred: the features have mean zero as drawn; else that of φ.
    """

    centred: ClassVar[bool] = False

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str,
        cell: Callable[[Activation], nnx.Module],
        injected: int,
        width: int,
        solver: Solver | str,
        adjoint: Adjoint | str,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        self.activation = catalog.activations.get(activation)
        inputs = math.prod(one_array(spec).shape)
        self.inputs = nnx.Linear(inputs, injected, param_dtype=dtype, rngs=rngs)
        self.deq = DEQ(cell(self.activation), solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)
        read_out_spread(self.outputs, self.activation, centred=self.centred)

    def stem(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch injected"]:
        """Ux + b."""
        return self.inputs(x.reshape(x.shape[0], -1))

    def features(
        self, z: Float[Array, "batch state"], injected: Float[Array, "batch injected"]
    ) -> Float[Array, "batch width"]:
        """What the outputs are made of; by default z."""
        del injected
        return z

    def head(
        self, z: Float[Array, "batch state"], injected: Float[Array, "batch injected"]
    ) -> Float[Array, "batch outputs"]:
        """A features(z, u) + c."""
        return self.outputs(self.features(z, injected))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)

    def ends(self) -> Ends:
        """U and A."""
        return Ends(self.inputs.kernel[...].T, self.outputs.kernel[...].T)
