"""Open a trained member: by its name, or from a file that ``save_pretrained`` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from deqzoo.local_path import local_path
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage import files, shelf
from deqzoo.storage.tensors import TensorsError
from deqzoo.zoo.card import Card, CardError
from deqzoo.zoo.pretrained import Pretrained


def load(member: str | Path, *, plugins: Sequence[str] = ()) -> Pretrained:
    """A trained model with its card, ready for raw inputs.

    Shapes and dtypes of the weights are compared with those of the model before anything is drawn
    or read, and every array with its checksum.

    Args:
        member: a name of ``list_pretrained``, or the path of a ``.safetensors`` file, whose card
            lies beside it.
        plugins: modules to import first. Those that the card names must be among them, or imported
            already: to import a module is to run its code, and the file may be anybody's.

    Raises:
        ShelfError: no member of that name.
        CardError: the card is missing, damaged, or that of another member or file.
        TensorsError: the weights are missing, damaged, or do not fit the model.
        CatalogError: a plug-in that is not installed here, or was not asked for.

    Example:
        >>> import deqzoo, numpy as np
        >>> member = deqzoo.load("mondeq-digits-gelu")
        >>> outputs, solution = member(np.zeros((2, 8, 8, 1), np.uint8))
        >>> outputs.shape, member.certificate().level
        ((2, 10), 'A')
    """
    path = located(member)
    card = Card.read(path.with_suffix(shelf.CARD))
    card.blueprint.import_plugins(f"the member {card.name}", plugins)
    file = shelf.opened(path)
    if file.check != card.weights:
        raise CardError(
            f"the card beside {path} belongs to other weights (checksum {card.weights} there, "
            f"{file.check} here): restore both"
        )
    if file.record.get("blueprint") != files.plain(card.blueprint):
        raise TensorsError(f"{path} and its card describe different models: restore both")
    state = file.fill(card.blueprint.template())
    model = PureModel(card.blueprint.build()).rebuild(jax.tree.map(jnp.asarray, state))
    return Pretrained(model, card)


def located(member: str | Path) -> Path:
    """The path of the weights of a member, as ``load`` takes it."""
    if isinstance(member, str) and "/" not in member and not member.endswith(shelf.WEIGHTS):
        return shelf.weights(member)
    path = local_path(member)
    return path if path.suffix == shelf.WEIGHTS else path.with_name(path.name + shelf.WEIGHTS)
