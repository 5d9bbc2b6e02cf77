"""Weights as a safetensors file that says what it holds; the only module that names the library.

Beside every array stands its checksum, in a sealed record, because the format has none: a flipped
bit is found whoever reads the file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deqzoo.settings import told
from deqzoo.storage import files
from deqzoo.storage.ordinary import UnusualError, require_ordinary
from deqzoo.storage.sealed import sealed, unsealed

_RECORD = "deqzoo"
_CRC = "crc32"
_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
}


class TensorsError(ValueError):
    """A file of weights that cannot be used; the message says of which and why."""


def write(path: Path, tree: Any, record: Mapping[str, Any]) -> None:
    """Write the arrays of a tree under their paths, with a record of plain values.

    Args:
        path: of the file; an earlier one is replaced.
        tree: of arrays.
        record: what is told of them.
    """
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in _named(tree).items()}
    sums = {name: _crc(array) for name, array in arrays.items()}
    text = json.dumps(sealed({**record, _CRC: sums}), sort_keys=True)
    files.write(path, save(arrays, {_RECORD: text}))


class TensorFile:
    """A file that ``write`` made: its record now, its arrays when they are found to fit.

    Args:
        path: of the file.

    Attributes:
        record: what was told of the arrays.
        check: the checksum of all of them.

    Raises:
        TensorsError: no such file, no safetensors, damaged, or made by something else.

    Example:
        >>> import tempfile, pathlib, numpy as np
        >>> from deqzoo.storage.tensors import TensorFile, write
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.safetensors")
        >>> write(path, {"W": np.eye(2)}, {"name": "a"})
        >>> TensorFile(path).record["name"], TensorFile(path).fill({"W": np.zeros((2, 2))})["W"][0]
        ('a', array([1., 0.]))
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            require_ordinary([path])
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get(_RECORD)
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                self._kinds = {name: _kind(each) for name, each in slices.items()}
        except FileNotFoundError:
            raise TensorsError(f"there is no file {path}") from None
        except (OSError, SafetensorError, UnusualError) as error:
            raise self._damaged(told(error)) from None
        if text is None:
            raise TensorsError(
                f"{path} was not written by deqzoo: expected the record {_RECORD!r} among its "
                "metadata; deqzoo.save_pretrained writes such files"
            )
        try:
            self.record = unsealed(json.loads(text))
            self._sums = dict(self.record.pop(_CRC))
            self.check = f"{zlib.crc32(json.dumps(self._sums, sort_keys=True).encode()):08x}"
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged(told(error)) from None

    def fill(self, template: Any, *, cast: bool = False) -> Any:
        """The structure of ``template`` with the arrays of the file, read if all fit.

        Args:
            template: of arrays or their shapes.
            cast: whether to round numbers to the dtypes of the template instead of refusing others.

        Raises:
            TensorsError: an array is missing, unknown, damaged, or of another shape or dtype.
        """
        wanted = _named(template)
        self._require_same(wanted, cast)
        with safe_open(self.path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in wanted}
        for name, array in arrays.items():
            if self._sums.get(name) != _crc(array):
                raise self._damaged(f"the checksum of {name} differs")
        leaves = [arrays[name].astype(leaf.dtype) for name, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _require_same(self, wanted: Mapping[str, Any], cast: bool) -> None:
        unknown = sorted(self._kinds.keys() - wanted.keys())
        if unknown:
            raise TensorsError(f"{self.path} holds {unknown[0]}, which the model does not have")
        for name, leaf in wanted.items():
            shape, dtype = self._kinds.get(name, ((), ""))
            fits = dtype == str(leaf.dtype)
            if cast and dtype in _DTYPES.values():
                fits = np.can_cast(dtype, leaf.dtype, "same_kind")
            if shape != leaf.shape or not fits:
                found = f"{dtype}{shape}" if name in self._kinds else "nothing"
                raise TensorsError(
                    f"{self.path} has {found} for {name}, the model expects "
                    f"{leaf.dtype}{leaf.shape}"
                )

    def _damaged(self, reason: str) -> TensorsError:
        return TensorsError(
            f"{self.path} cannot be read ({reason}): restore it, or install deqzoo again"
        )


def _kind(piece: Any) -> tuple[tuple[int, ...], str]:
    dtype = str(piece.get_dtype())
    return tuple(piece.get_shape()), _DTYPES.get(dtype, dtype)


def _named(tree: Any) -> dict[str, Any]:
    """``parameters/deq/cell/W`` -> leaf, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _crc(array: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).data):08x}"
