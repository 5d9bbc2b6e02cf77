"""The names of the models that there are."""

from __future__ import annotations

from flax import nnx

from deqzoo import catalog
from deqzoo.catalog import Recipe
from deqzoo.data.spec import Spec
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage import shelf
from deqzoo.zoo.card import Card

# What an example of each kind may be.
KINDS = {
    "vectors": Spec((8,)),
    "images": Spec((8, 8, 1)),
    "tokens": Spec((8,), "int32", 16),
}


class KindError(ValueError):
    """A kind of input that there is not."""


def list_models(kind: str | None = None, *, pretrained: bool = False) -> tuple[str, ...]:
    """Names for ``create_model``.

    Args:
        kind: only those that take ``"vectors"``, ``"images"`` or ``"tokens"``: asked of each by
            describing it, with its default settings, for such an example. A model that flattens its
            input takes vectors and images.
        pretrained: only those of which ``list_pretrained`` has trained members.

    Raises:
        KindError: another kind.

    Example:
        >>> import deqzoo
        >>> "mondeq" in deqzoo.list_models("images", pretrained=True)
        True
    """
    if kind is not None and kind not in KINDS:
        raise KindError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    names = catalog.models.names()
    if pretrained:
        trained = _trained()
        names = tuple(name for name in names if name in trained)
    if kind is not None:
        names = tuple(name for name in names if _takes(name, KINDS[kind]))
    return names


def _trained() -> set[str]:
    cards = (Card.read(shelf.FOLDER / f"{name}{shelf.CARD}") for name in shelf.names())
    return {Recipe.parse(card.blueprint.settings["model"]).name for card in cards}


def _takes(name: str, spec: Spec) -> bool:
    """Whether the model is built for such an example and gives outputs; nothing is drawn."""
    try:
        model = nnx.eval_shape(
            lambda: catalog.models.get(name, spec=spec, outputs=2, rngs=nnx.Rngs(0))
        )
        output_shape(PureModel(model), spec)
    except (ValueError, TypeError):
        return False
    return True
