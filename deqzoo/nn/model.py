"""What every model of the zoo promises."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree, Shaped

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Backward
from deqzoo.core.solution import Solution
from deqzoo.core.trees import State
from deqzoo.nn.deq import DEQ
from deqzoo.nn.guarantee import Guarantee


class Ends(NamedTuple):
    """The matrices of a stem x -> Ux + b and of a head y -> Ay + c."""

    U: Float[Array, "injected inputs"]
    A: Float[Array, "outputs width"]


class Model(nnx.Module):
    """A stem, an equilibrium and a head: ``model(x) -> (outputs, solution)``.

    To write a model, derive from this class in a file of ``deqzoo/models`` with the constructor
    ``(spec, outputs, *, ..., rngs)``, every other argument having a laptop-sized default. ``spec``
    says what an example is (``deqzoo.data.spec``); a task with constants gives them as
    ``constants=``.

    Attributes:
        activation: the activation whose declared bounds the guarantees rest on.
        deq: the equilibrium.
        example_task: a task whose examples it takes, where none is named.
    """

    activation: Activation
    deq: DEQ
    example_task: ClassVar[str] = "digits"

    def __call__(
        self,
        x: Any,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> tuple[Float[Array, "batch ..."], Solution]:
        """Outputs and the solve they rest on; see ``DEQ`` for ``guess`` and ``backward``."""
        injected = self.injection(x)
        solution = self.deq(injected, guess=guess, backward=backward)
        return self.head(solution.value, injected), solution

    def injection(self, x: Any) -> Any:
        """The stem of the inputs: numbers in the precision of the parameters, integers as such."""
        dtype = jax.tree.leaves(nnx.state(self, nnx.Param))[0].dtype
        return self.stem(jax.tree.map(lambda array: _as_number(array, dtype), x))

    @abc.abstractmethod
    def stem(self, x: PyTree[Shaped[Array, "batch ..."]]) -> Any:
        """What the cell takes besides its state."""

    @abc.abstractmethod
    def head(self, z: Any, injected: Any) -> Float[Array, "batch ..."]:
        """The outputs of an equilibrium, and of what the stem gave to it."""

    def guarantees(self) -> tuple[Guarantee, ...]:
        """The theorems that hold while their bounds lie below 1.

        By default none: nothing is proved, level C, and everything printed says so.

        Raises:
            ActivationError: the activation declares what is not so.
        """
        return ()

    def ends(self) -> Ends | None:
        """U and A where stem and head are affine, in what the cell puts out; None where not."""
        return None


def _as_number(array: Any, dtype: Any) -> Array:
    array = jnp.asarray(array)
    return array if jnp.issubdtype(array.dtype, jnp.integer) else array.astype(dtype)
