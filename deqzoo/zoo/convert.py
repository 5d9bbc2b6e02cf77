"""Trained weights that a user brings, as a member that ``load`` opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo.data.scaling import Scale
from deqzoo.local_path import local_path
from deqzoo.nn.model import Model
from deqzoo.recipe import Recipe
from deqzoo.storage import torch_file
from deqzoo.zoo.create_model import create_model
from deqzoo.zoo.load import load
from deqzoo.zoo.pretrained import Pretrained
from deqzoo.zoo.save_pretrained import Told, save_pretrained


class ConvertError(ValueError):
    """Weights of another architecture than the recipe builds; the message says which differ."""


@dataclass(frozen=True)
class _Source:
    """How others name the arrays of a model of ours.

    Attributes:
        of: whose files these are.
        arrays: path here -> name there; what is marked with T is transposed there.
        wide: path here of an array with as many rows as the model is wide.
        shape: of a raw example.
        scale: what is done to it.
        outputs: of the model.
        activation: φ.
    """

    of: str
    arrays: dict[str, str]
    wide: str
    shape: tuple[int, ...]
    scale: Scale
    outputs: int
    activation: str


_SOURCES = {
    "mondeq": _Source(
        of="the fully connected model of Winston and Kolter, arXiv 2006.08591, for MNIST",
        arrays={
            "inputs.kernel": "mon.linear_module.U.weight T",
            "inputs.bias": "mon.linear_module.U.bias",
            "deq.cell.A": "mon.linear_module.A.weight",
            "deq.cell.B": "mon.linear_module.B.weight",
            "outputs.kernel": "Wout.weight T",
            "outputs.bias": "Wout.bias",
        },
        wide="deq.cell.A",
        shape=(28, 28, 1),
        scale=Scale(shift=255 * 0.1307, factor=1 / (255 * 0.3081)),
        outputs=10,
        activation="relu",
    )
}


def convert(file: str | Path, recipe: str, path: str | Path) -> Pretrained:
    """Weights that PyTorch wrote as a member with a card, which is written and opened.

    Nothing of the file is run, and PyTorch is not needed. What the file does not say, the recipe
    must: m of ``mondeq`` is ``margin``.

    Args:
        file: a ``state_dict`` saved by ``torch.save``.
        recipe: the model that these weights belong to, with its width and whatever else is no
            default: ``"mondeq(width=40, margin=20)"``.
        path: where the weights and the card go; its last part is the name.

    Raises:
        ConvertError: no source of the model is known, or the file holds other arrays.
        TorchFileError: the file cannot be read, or names more than tensors.
    """
    name = Recipe.parse(recipe).name
    if name not in _SOURCES:
        raise ConvertError(
            f"no source of weights is known for {name}, only for {', '.join(_SOURCES)}"
        )
    source = _SOURCES[name]
    found = torch_file.read(local_path(file))
    model = create_model(recipe, source.shape, source.outputs, activation=source.activation)
    _fill(model, source, found)
    told = Told(limits=(f"its weights are those of {source.of}; nothing was measured here",))
    return load(
        save_pretrained(
            model, path, recipe=recipe, spec=source.shape, scaling=(source.scale,), told=told
        )
    )


def _fill(model: Model, source: _Source, found: dict[str, np.ndarray]) -> None:
    names = {theirs.partition(" ")[0] for theirs in source.arrays.values()}
    if differing := sorted(names ^ found.keys()):
        states = ("is missing" if each in names else "is not known" for each in differing)
        each = ", ".join(f"{a} {b}" for a, b in zip(differing[:6], states, strict=False))
        raise ConvertError(f"these are not the arrays of {source.of}: {each}")
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    flat, structure = jax.tree_util.tree_flatten_with_path(state)
    ours = {".".join(str(key.key) for key in path): leaf for path, leaf in flat}
    filled = [_fitted(here, leaf, source, found) for here, leaf in ours.items()]
    nnx.update(model, structure.unflatten(filled))


def _fitted(here: str, leaf: jax.Array, source: _Source, found: dict[str, np.ndarray]) -> jax.Array:
    name, _, turned = source.arrays[here].partition(" ")
    array = found[name].T if turned else found[name]
    if array.shape != leaf.shape:
        raise ConvertError(
            f"{name} has the shape {array.shape}, and {here} of the recipe {leaf.shape}: name the "
            f"width of the file, such as width={len(found[source.arrays[source.wide]])}"
        )
    return jnp.asarray(array, leaf.dtype)
