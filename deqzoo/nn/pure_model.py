"""A model taken apart into structure and arrays, as the transformations of JAX need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from deqzoo.core.solution import Solution
from deqzoo.nn.model import Model

_Result = TypeVar("_Result")


class ModelState(NamedTuple):
    """All arrays of a model, as nested dictionaries.

    Attributes:
        parameters: every ``nnx.Param``.
        variables: whatever else it holds: statistics, random streams (their keys as plain numbers)
            and constants.
    """

    parameters: dict[str, Any]
    variables: dict[str, Any]

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of the two hold anything, as a checkpoint names them."""
        return tuple(name for name, arrays in self._asdict().items() if arrays)

    def updated(self, changes: dict[str, Any]) -> ModelState:
        """The state with the variables that were written; None stands for those that were not."""
        keep = lambda old, new: old if new is None else new  # noqa: E731
        return self._replace(variables=jax.tree.map(keep, self.variables, changes))


class PureModel:
    """A model as a function of its arrays: (state, x) -> (outputs, solution).

    Args:
        model: the model, which stays as it is.
        compute: the precision in which it is evaluated; its own by default. Parameters and constant
            arrays are rounded to it; what an ``nnx.Variable`` holds, such as the statistics of a
            BatchNorm, and whole numbers are not.

    Attributes:
        state: the arrays of the model.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.wide import Wide
        >>> from deqzoo.nn import PureModel
        >>> pure = PureModel(Wide((8,), 1, width=16, rngs=nnx.Rngs(0)))
        >>> pure(pure.state, jnp.ones((5, 8)))[0].shape
        (5, 1)
    """

    def __init__(self, model: Model, compute: DTypeLike | None = None):
        self._graph, parameters, held = nnx.split(model, nnx.Param, ...)
        self._held = nnx.to_flat_state(held)
        self._compute = compute
        variables = self._nested(_as_numbers(_array(leaf)) for _, leaf in self._held)
        self.state = ModelState(nnx.to_pure_dict(parameters), variables)

    def __call__(self, state: ModelState, x: Any) -> tuple[Any, Solution]:
        """Outputs and solution in eval mode."""
        return self.rebuild(state)(x)

    def rebuild(self, state: ModelState, *, train: bool = False) -> Model:
        """The model around other arrays, in eval or train mode."""
        return self._merge(state.parameters, self._given(state.variables), train)

    def in_training(
        self, state: ModelState, use: Callable[[Model], _Result]
    ) -> tuple[_Result, dict[str, Any]]:
        """``use(model)`` of the model in train mode, and the variables that this has written.

        Returns:
            The result, and the variables with None for each that was not written.
        """
        given = self._given(state.variables)
        model = self._merge(state.parameters, given, train=True)
        result = use(model)
        after = dict(nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.Param))))
        return result, self._nested(
            _written(before, _array(after[path]), _array(leaf).dtype)
            for (path, leaf), before in zip(self._held, given, strict=True)
        )

    def with_streams(self, state: ModelState, number: Any) -> ModelState:
        """The state with random streams of its own for every ``number``."""
        arrays = (
            _as_numbers(jax.random.fold_in(self._as_held(leaf, array), number))
            if isinstance(leaf, nnx.RngKey)
            else array
            for (_, leaf), array in zip(self._held, self._flat(state.variables), strict=True)
        )
        return state._replace(variables=self._nested(arrays))

    def keep_streams(self, state: ModelState) -> ModelState:
        """Another state of the model, with the random streams of this one."""
        own, other = (self._flat(each.variables) for each in (self.state, state))
        arrays = (
            mine if isinstance(leaf, nnx.RngState) else theirs
            for (_, leaf), mine, theirs in zip(self._held, own, other, strict=True)
        )
        return state._replace(variables=self._nested(arrays))

    def _merge(self, parameters: dict[str, Any], given: list[Any], train: bool) -> Model:
        held = nnx.from_flat_state(
            [(path, array) for (path, _), array in zip(self._held, given, strict=True)]
        )
        model = nnx.merge(self._graph, nnx.State(self._round(parameters)), held)
        model.train() if train else model.eval()
        return model

    def _given(self, variables: dict[str, Any]) -> list[Any]:
        """What the model holds, in the order of the structure."""
        arrays = zip(self._held, self._flat(variables), strict=True)
        return [self._as_held(leaf, array) for (_, leaf), array in arrays]

    def _as_held(self, leaf: Any, numbers: Any) -> Any:
        """What stands in ``leaf``, from other numbers; undoes ``_as_numbers``."""
        array = _array(leaf)
        if _is_key(array):
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(array))
        return numbers if isinstance(leaf, nnx.Variable) else self._round(numbers)

    def _round(self, arrays: Any) -> Any:
        return arrays if self._compute is None else jax.tree.map(self._rounded, arrays)

    def _rounded(self, array: Any) -> Any:
        real = jnp.issubdtype(array.dtype, jnp.floating)
        return array.astype(self._compute) if real else array

    def _flat(self, variables: dict[str, Any]) -> list[Any]:
        by_name = nnx.traversals.flatten_mapping(variables)
        return [by_name[_name(path)] for path, _ in self._held]

    def _nested(self, arrays: Iterable[Any]) -> dict[str, Any]:
        names = (_name(path) for path, _ in self._held)
        return nnx.traversals.unflatten_mapping(dict(zip(names, arrays, strict=True)))


def _name(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, path))  # entries of a list are numbered, those of a mapping may be tuples


def _array(leaf: Any) -> Any:
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _is_key(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _as_numbers(array: Any) -> Any:
    """The array, or the numbers of a key: no file, and no NumPy, holds keys."""
    return jax.random.key_data(array) if _is_key(array) else array


def _written(before: Any, after: Any, dtype: Any) -> Any:
    if after is before:
        return None
    return _as_numbers(after) if _is_key(after) else after.astype(dtype)
