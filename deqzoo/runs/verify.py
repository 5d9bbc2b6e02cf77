"""An artefact against the model it was made from: outputs and latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from deqzoo.data.spec import Spec, as_spec
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.artefact import Artefact
from deqzoo.runs.inference import inference
from deqzoo.runs.latency import median_seconds
from deqzoo.runs.loader import ExportedModel, ExportError, load_exported
from deqzoo.runs.placement import input_dtype, on_default_device

_ROUNDINGS = 100  # of the largest output, by which a program compiled otherwise may differ


def reason_not_to_run(artefact: Artefact) -> str | None:
    """Why this machine cannot compare an artefact with its model, in a sentence."""
    here, made_for = jax.export.default_export_platform(), artefact.description["platforms"]
    if here in made_for:
        return None
    return f"not verified: made for {', '.join(made_for)}, this machine has {here}"


class Comparison:
    """A model and its artefact on drawn inputs, which are no data but exercise both.

    Numbers are standard normal, tokens uniform.

    Args:
        model: the model.
        artefact: the loaded artefact, or its path.
        spec: of one example, or the shape of its one array.
    """

    def __init__(self, model: Model, artefact: ExportedModel | Path, spec: Any):
        self.artefact = load_exported(artefact) if isinstance(artefact, Path) else artefact
        self._spec, self._dtype = as_spec(spec), input_dtype(model)
        self._arrays = on_default_device(jax.tree.leaves(PureModel(model).state))
        self._model = jax.jit(inference(model))

    def difference(self, batch: int) -> tuple[float, float]:
        """The largest difference of the outputs, and the largest that rounding explains."""
        x = self._inputs(batch)
        expected = np.asarray(self._model(self._arrays, x)[0], np.float64)
        found = np.asarray(self.artefact(x)[0], np.float64)
        rounding = float(jnp.finfo(self._dtype).eps) * max(1.0, float(np.max(np.abs(expected))))
        return float(np.max(np.abs(found - expected))), _ROUNDINGS * rounding

    def require_equal(self, batch: int) -> float:
        """The largest difference of the outputs, which rounding explains.

        Raises:
            ExportError: rounding does not.
        """
        difference, allowed = self.difference(batch)
        if not difference <= allowed:
            raise ExportError(
                f"the artefact differs from the model by {difference:.3g} where rounding explains "
                f"{allowed:.3g}: nothing was written"
            )
        return difference

    def latency(self, batch: int, calls: int) -> dict[str, Any]:
        """Median seconds of a call of either, inputs on the device."""
        x = jax.device_put(self._inputs(batch))
        return {
            "batch": batch,
            "artefact": median_seconds(lambda: self.artefact(x), calls),
            "model": median_seconds(lambda: self._model(self._arrays, x), calls),
        }

    def _inputs(self, batch: int) -> Any:
        rng = np.random.default_rng(batch)

        def draw(spec: Spec) -> np.ndarray:
            shape = (batch, *spec.shape)
            if spec.size is not None:
                return rng.integers(0, spec.size, shape, spec.dtype)
            return rng.standard_normal(shape).astype(self._dtype)

        return jax.tree.map(draw, self._spec)
