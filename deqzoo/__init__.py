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
    from deqzoo.nn.deq import DEQ
    from deqzoo.runs.evaluate import evaluate
    from deqzoo.runs.export import export
    from deqzoo.runs.fit import fit
    from deqzoo.runs.loader import load_exported
    from deqzoo.runs.run import Run, load_run
    from deqzoo.runs.save import restore, save

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
    "evaluate",
    "export",
    "fit",
    "fixed_point",
    "load_exported",
    "load_run",
    "restore",
    "save",
    "theory",
]
__version__ = "0.1.0"

# The core is pure JAX; what needs Flax or Orbax is imported on first use.
_LAZY = {
    "DEQ": "deqzoo.nn.deq",
    "Run": "deqzoo.runs.run",
    "evaluate": "deqzoo.runs.evaluate",
    "export": "deqzoo.runs.export",
    "fit": "deqzoo.runs.fit",
    "load_exported": "deqzoo.runs.loader",
    "load_run": "deqzoo.runs.run",
    "restore": "deqzoo.runs.save",
    "save": "deqzoo.runs.save",
}


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "theory":
        return importlib.import_module("deqzoo.theory")
    if name not in _LAZY:
        raise AttributeError(f"module 'deqzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
