"""What rebuilds a model and prepares its inputs: settings, what an example is, its scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.data.scaling import Scale
from deqzoo.data.spec import described, from_plain
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import ModelState, PureModel
from deqzoo.settings import told
from deqzoo.training.config import TrainConfig


class InputError(ValueError):
    """Inputs of another shape than the model was built for."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A model without its weights.

    Attributes:
        settings: of the run that trained it, with every default, as in its config.json: model,
            activation, task, solver, adjoint, seed, ...
        spec: of one raw example, as ``deqzoo.data.spec.to_plain`` writes it.
        outputs: of the model.
        scaling: of every array of the input, in their order; None leaves it as it is.
    """

    settings: dict[str, Any]
    spec: dict[str, Any]
    outputs: int
    scaling: tuple[Scale | None, ...]

    def require_sound(self) -> None:
        """See that every part can be used; a card may be anybody's.

        Raises:
            ValueError: one cannot.
        """
        try:
            leaves = jax.tree.leaves(from_plain(self.spec))
            sizes = [n for leaf in leaves for n in leaf.shape]
            whole = all(type(n) is int and n >= 0 for n in sizes)
            sound = whole and all(np.dtype(leaf.dtype) for leaf in leaves)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"spec is none ({told(error)})") from None
        if not sound or len(leaves) != len(self.scaling):
            raise ValueError("spec and scaling do not describe an example")
        _ = self.config

    @property
    def config(self) -> TrainConfig:
        """The settings, checked.

        Raises:
            ConfigError: they are those of another version.
        """
        return TrainConfig.from_dict(self.settings)

    def import_plugins(self, of: str, asked: Sequence[str]) -> None:
        """Import the modules that the settings name, if they are among those asked for.

        Raises:
            CatalogError: another is needed.
        """
        catalog.require_asked_for(of, self.config.plugin, asked)
        for module in dict.fromkeys((*self.config.plugin, *asked)):
            catalog.import_plugin(module)

    def build(self, precision: str | None = None) -> Model:
        """The model with weights as they are drawn.

        Args:
            precision: that of the settings if None.
        """
        own = self.config
        config = own if precision is None else replace(own, precision=precision)
        return config.build_model(from_plain(self.spec), self.outputs)

    def template(self) -> ModelState:
        """Shapes and dtypes of all arrays; nothing is drawn."""
        return jax.eval_shape(lambda: PureModel(self.build()).state)

    def scaled(self, x: Any) -> Any:
        """Raw inputs as the model takes them.

        Raises:
            InputError: they have another structure or shape.
        """
        spec = from_plain(self.spec)
        specs, structure = jax.tree.flatten(spec)
        try:
            arrays = [np.asarray(each) for each in structure.flatten_up_to(x)]
        except (ValueError, TypeError):
            arrays = []
        if [each.shape[1:] for each in arrays if each.ndim] != [each.shape for each in specs]:
            found = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(x))
            raise InputError(
                f"the model takes raw inputs of {described(spec)} with the batch before it, got "
                f"{found}: add the axes that are missing, as in x[None] for one example"
            )
        pairs = zip(arrays, self.scaling, strict=True)
        return structure.unflatten(x if scale is None else scale(x) for x, scale in pairs)
