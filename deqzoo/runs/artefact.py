"""A trained model as a file that runs without its Python code: StableHLO and arrays."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deqzoo.runs import loader
from deqzoo.storage.files import to_json


@dataclass(frozen=True)
class Artefact:
    """What ``deqzoo.load_exported`` reads.

    Weights, statistics and constants are arguments of the program and stored as plain ``.npy``
    members: they are read with NumPy long after the program has become too old for JAX.

    Attributes:
        description: what stands in export.json.
        program: the serialised program of (arrays, x).
        arrays: name, such as ``parameters/deq/cell/W``, -> array, in the order of the program's
            argument.
    """

    description: dict[str, Any]
    program: bytes
    arrays: dict[str, np.ndarray]

    def to_bytes(self, **facts: Any) -> bytes:
        """The file, with further facts in its description."""
        members = {
            "export.json": to_json({**self.description, **facts}).encode(),
            "program.bin": self.program,
            "loader.py": Path(loader.__file__).read_bytes(),
        }
        members |= {f"{name}.npy": _npy(each) for name, each in self.arrays.items()}
        return loader.pack(members)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
