"""Where the arrays of a run live on its mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from deqzoo.core.paths import Path
from deqzoo.nn.model import Model
from deqzoo.training.config import ConfigError
from deqzoo.training.devices.mesh import DATA
from deqzoo.training.state import TrainState


class Layout:
    """Examples are shared out over ``data``, weights as their annotations say, the rest copied.

    A weight is annotated by Flax: ``nnx.Param(W, out_sharding=("model", None),
    eager_sharding=False)`` shares the rows of W out over ``model``.

    Args:
        mesh: of ``deqzoo.training.devices.mesh``.
        model: whose variables carry annotations; their moments in an optimizer live where they do.

    Raises:
        ConfigError: an annotation names no axis of the mesh, or one that does not divide a size.
    """

    def __init__(self, mesh: Mesh, model: Model | None = None):
        self.mesh = mesh
        self.batch = NamedSharding(mesh, PartitionSpec(DATA))
        self.copied = NamedSharding(mesh, PartitionSpec())
        self._annotated = {} if model is None else _annotations(model)
        for path, (spec, shape) in self._annotated.items():
            _require_divides(mesh, path, spec, shape)

    @property
    def shares(self) -> int:
        """Devices along ``data``, each of which solves examples of its own."""
        return self.mesh.shape[DATA]

    def of_state(self, state: TrainState) -> TrainState:
        """The sharding of every leaf."""
        return jax.tree_util.tree_map_with_path(self._of_leaf, state)

    def _of_leaf(self, keys: Any, leaf: Any) -> NamedSharding:
        path = tuple(str(getattr(key, "key", getattr(key, "name", key))) for key in keys)
        if path[0] == "warm":
            return self.batch
        for own, (spec, _) in self._annotated.items():
            if path[-len(own) :] == own:
                return NamedSharding(self.mesh, spec)
        return self.copied

    def put_state(self, state: TrainState) -> TrainState:
        """The state, of which every process has all in its memory, on the devices."""
        return jax.tree.map(put, state, self.of_state(state))

    def put_batch(self, *arrays: Any) -> tuple[Any, ...]:
        """Trees of arrays of which every process has all, shared out along axis 0."""
        return jax.tree.map(lambda array: put(array, self.batch), arrays)

    def feed(self, *arrays: Any) -> tuple[Any, ...]:
        """What ``jit_step`` takes for a batch; within one process it places the arrays itself."""
        return arrays if self.batch.is_fully_addressable else self.put_batch(*arrays)

    def jit_step(self, step: Callable[..., Any], state: TrainState) -> Callable[..., Any]:
        """``step(state, x, y) -> (state, numbers)`` compiled for the mesh; donates the state."""
        if self.mesh.size == 1:  # a quarter of the dispatch that shardings would cost
            return jax.jit(step, donate_argnums=0)
        places = self.of_state(state)
        return jax.jit(
            step,
            donate_argnums=0,
            in_shardings=(places, self.batch, self.batch),
            out_shardings=(places, self.copied),
        )

    def own_rows(self, size: int) -> Int[np.ndarray, " rows"]:
        """Which of ``size`` examples along axis 0 live on devices of this process, ascending."""
        places = self.batch.addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[index] for index in places]))

    def put_own(self, size: int, *arrays: Any) -> tuple[Any, ...]:
        """Trees of ``size`` examples in all, of which every process has its ``own_rows``."""
        make = jax.make_array_from_process_local_data
        whole = lambda own: make(self.batch, own, (size, *own.shape[1:]))  # noqa: E731
        return jax.tree.map(whole, arrays)

    def over_examples(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """(copied, examples) -> results of all examples, copied; every device does its share.

        Compiled; ``fn`` treats every example by itself.
        """
        if self.shares > 1:
            fn = jax.shard_map(
                fn,
                mesh=self.mesh,
                in_specs=(PartitionSpec(), PartitionSpec(DATA)),
                out_specs=PartitionSpec(DATA),
                axis_names={DATA},
                check_vma=False,  # a loop's start (zeros) is equal on all devices, its end is not
            )
        return jax.jit(fn, out_shardings=self.copied)


def _annotations(model: Model) -> dict[Path, tuple[PartitionSpec, tuple[int, ...]]]:
    """Path of a variable -> its annotation and shape, where it has one."""
    state = nnx.state(model, nnx.Variable)
    specs = dict(nnx.to_flat_state(nnx.get_partition_spec(state)))
    found = {
        tuple(map(str, path)): (specs[path].get_value(), variable.shape)
        for path, variable in nnx.to_flat_state(state)
    }
    return {path: (spec, shape) for path, (spec, shape) in found.items() if any(spec)}


def _require_divides(mesh: Mesh, path: Path, spec: PartitionSpec, shape: tuple[int, ...]) -> None:
    for axis, (name, size) in enumerate(zip(spec, shape, strict=False)):
        if name is None:
            continue
        if name not in mesh.shape:
            raise ConfigError(
                f"{'/'.join(path)} is annotated to lie along {name!r}, and a mesh has the axes "
                f"{', '.join(mesh.shape)}: change its out_sharding"
            )
        if size % mesh.shape[name]:
            what = "rows" if axis == 0 else f"entries along axis {axis}"
            raise ConfigError(
                f"--mesh: {mesh.shape[name]} devices along {name} do not divide the {size} {what} "
                f"of {'/'.join(path)}: change --width or --mesh"
            )


def put(array: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, placed on the devices of all."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def fetch(tree: Any) -> Any:
    """The whole arrays in the memory of every process; all processes must call it."""
    return jax.tree.map(_fetch, tree)


def _fetch(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and not (
        array.is_fully_addressable or array.is_fully_replicated
    ):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
