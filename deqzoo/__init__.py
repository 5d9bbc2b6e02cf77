"""Deep equilibrium models in JAX and Flax, with activations that carry their guarantees."""

import importlib
from typing import TYPE_CHECKING, Any

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Backward
from deqzoo.core.fixed_point import fixed_point
from deqzoo.core.map.split import Split
from deqzoo.core.solution import FixedPointError, Solution, Stats, Status

if TYPE_CHECKING:
    from deqzoo import theory
    from deqzoo.identification.identify import identify
    from deqzoo.nn.deq import DEQ
    from deqzoo.runs.evaluate import evaluate
    from deqzoo.runs.export import export
    from deqzoo.runs.fit import fit
    from deqzoo.runs.generate import generate
    from deqzoo.runs.loader import load_exported
    from deqzoo.runs.run import Run, load_run
    from deqzoo.runs.save import restore, save
    from deqzoo.runs.translate import translate
    from deqzoo.zoo.convert import convert
    from deqzoo.zoo.create_model import create_model
    from deqzoo.zoo.list_models import list_models
    from deqzoo.zoo.list_pretrained import list_pretrained
    from deqzoo.zoo.load import load
    from deqzoo.zoo.save_pretrained import save_pretrained

__all__ = [
    "DEQ",
    "Activation",
    "Backward",
    "FixedPointError",
    "Run",
    "Solution",
    "Split",
    "Stats",
    "Status",
    "convert",
    "create_model",
    "evaluate",
    "export",
    "fit",
    "fixed_point",
    "generate",
    "identify",
    "list_models",
    "list_pretrained",
    "load",
    "load_exported",
    "load_run",
    "restore",
    "save",
    "save_pretrained",
    "theory",
    "translate",
]
__version__ = "0.1.0"

# The core is pure JAX; what needs Flax or Orbax is imported on first use.
_LAZY = {
    "DEQ": "deqzoo.nn.deq",
    "Run": "deqzoo.runs.run",
    "convert": "deqzoo.zoo.convert",
    "create_model": "deqzoo.zoo.create_model",
    "evaluate": "deqzoo.runs.evaluate",
    "export": "deqzoo.runs.export",
    "fit": "deqzoo.runs.fit",
    "generate": "deqzoo.runs.generate",
    "identify": "deqzoo.identification.identify",
    "list_models": "deqzoo.zoo.list_models",
    "list_pretrained": "deqzoo.zoo.list_pretrained",
    "load": "deqzoo.zoo.load",
    "load_exported": "deqzoo.runs.loader",
    "load_run": "deqzoo.runs.run",
    "restore": "deqzoo.runs.save",
    "save": "deqzoo.runs.save",
    "save_pretrained": "deqzoo.zoo.save_pretrained",
    "translate": "deqzoo.runs.translate",
}


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "theory":
        return importlib.import_module("deqzoo.theory")
    if name not in _LAZY:
        raise AttributeError(f"module 'deqzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
