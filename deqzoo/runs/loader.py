"""Reads a model that ``deqzoo.export`` wrote, with JAX, NumPy and flatbuffers alone.

This file is also part of every artefact, so that a machine without deqzoo can use one:

    import sys; sys.path.insert(0, "model.stablehlo"); import loader
    outputs, info = loader.load_exported("model.stablehlo")(x)

An artefact is one line (magic word, format, SHA-256 of the rest) followed by a zip archive of
``export.json``, ``program.bin`` (``jax.export``), ``parameters/*.npy``, ``variables/*.npy`` and
``loader.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

FORMAT = 2
_HEADER = re.compile(rb"deqzoo-export (\d+) sha256 ([0-9a-f]{64})")


class ExportError(ValueError):
    """An artefact or an input that cannot be used; the message says what to do."""


class ExportedModel:
    """x -> (outputs, info): a trained model without its Python code.

    ``info`` holds, per example, ``steps``, the relative ``residual``, ``converged`` and ``status``
    (the numbers of ``deqzoo.Status``). Every batch size is compiled on its first call.

    Attributes:
        description: export.json: input, classes, settings, versions, how long it stays readable.
    """

    def __init__(self, description: dict[str, Any], call: Callable, arrays: list[Any]):
        self.description = description
        self._call = jax.jit(call)
        self._arrays = arrays

    def __call__(self, x: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Outputs and statistics of a batch.

        Args:
            x: inputs, nested as the arrays that ``description["input"]`` names, and scaled as it
                says: (raw - mean) / deviation where scaling is ``standard``; null if the model was
                an object, which does not say.

        Raises:
            ExportError: the input has another shape or dtype than the model was exported for.
        """
        self._require_input(x)
        return self._call(self._arrays, x)

    def __repr__(self) -> str:
        about = self.description
        return f"ExportedModel({about['model']}, {about['activation']}, input {_input(about)})"

    def _require_input(self, x: Any) -> None:
        wanted = self.description["input"]
        found = [_described(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(x)]
        sizes = {each["shape"][0] if each["shape"] else 0 for each in found}
        inner = [{**each, "shape": each["shape"][1:]} for each in found]
        if inner != wanted["arrays"] or len(sizes) > 1 or not _fits(sizes, wanted["batch"]):
            raise ExportError(
                f"the model takes {_input(self.description)}, got {_listed(found)}: batch "
                "first, and numpy.asarray(x, dtype) converts"
            )


def load_exported(path: str | Path) -> ExportedModel:
    """Read an artefact; it runs on the default device, or on another it was exported for.

    Raises:
        ExportError: no artefact, damaged, for platforms that this machine lacks, or too old for the
            installed JAX.
    """
    members = unpack(Path(path).expanduser())
    about = json.loads(members["export.json"])
    _require_precision(path, about)
    device = _device(path, about)
    call = _program(path, about, members["program.bin"]).call
    arrays = [_array(members, each) for each in about["arrays"]]
    return ExportedModel(about, call, jax.device_put(arrays, device))


def pack(members: dict[str, bytes]) -> bytes:
    """The bytes of an artefact with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    body = buffer.getvalue()
    digest = hashlib.sha256(body).hexdigest()
    return f"deqzoo-export {FORMAT} sha256 {digest}\n".encode() + body


def unpack(path: Path) -> dict[str, bytes]:
    """The members of an artefact, once its checksum is found right.

    Raises:
        ExportError: no artefact, of another format, or damaged.
    """
    if not path.is_file():
        raise ExportError(f"there is no file {path}: give the path that the model was exported to")
    head, _, body = path.read_bytes().partition(b"\n")
    match = _HEADER.fullmatch(head)
    if match is None:
        raise ExportError(f"{path} is no exported model, or its first line is damaged")
    if int(match[1]) != FORMAT:
        raise ExportError(
            f"{path} has format {match[1].decode()}, this loader reads {FORMAT}: use the loader.py "
            "inside the file, which is a zip archive"
        )
    if hashlib.sha256(body).hexdigest() != match[2].decode():
        raise ExportError(f"{path} is damaged (its checksum differs): copy or export it again")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def is_artefact(data: bytes) -> bool:
    """Whether bytes begin like an artefact."""
    return _HEADER.fullmatch(data.partition(b"\n")[0]) is not None


def _described(path: Any, leaf: Any) -> dict[str, Any]:
    dtype = str(getattr(leaf, "dtype", type(leaf).__name__))
    return {"name": jax.tree_util.keystr(path), "shape": list(np.shape(leaf)), "dtype": dtype}


def _fits(sizes: set[int], batch: int | None) -> bool:
    return all(size >= 1 and batch in (None, size) for size in sizes)


def _input(about: dict[str, Any]) -> str:
    wanted = about["input"]
    batch = wanted["batch"] or "n"
    return _listed([{**each, "shape": [batch, *each["shape"]]} for each in wanted["arrays"]])


def _listed(arrays: list[dict[str, Any]]) -> str:
    shapes = [f"[{', '.join(map(str, each['shape']))}]" for each in arrays]
    pairs = zip(arrays, shapes, strict=True)
    return ", ".join(f"{each['name']} {each['dtype']}{shape}".strip() for each, shape in pairs)


def _require_precision(path: str | Path, about: dict[str, Any]) -> None:
    wide = any(each["dtype"] == "float64" for each in about["input"]["arrays"])
    if wide and jnp.result_type(float) != jnp.float64:
        raise ExportError(f"{path} computes in float64: set JAX_ENABLE_X64=1 before JAX starts")


def _device(path: str | Path, about: dict[str, Any]) -> Any:
    """The default device if the artefact is for its platform, else another that fits."""
    here = jax.export.default_export_platform()
    for platform in sorted(about["platforms"], key=lambda each: each != here):
        try:
            return jax.local_devices(backend=platform)[0]
        except RuntimeError:
            continue
    wanted = ",".join(about["platforms"])
    raise ExportError(
        f"{path} was exported for {wanted}, and this machine has {here}: export it again with "
        f"--platforms={wanted},{here}"
    )


def _program(path: str | Path, about: dict[str, Any], program: bytes) -> Any:
    version = about["calling_convention"]
    oldest = jax.export.minimum_supported_calling_convention_version
    newest = jax.export.maximum_supported_calling_convention_version
    try:
        if not oldest <= version <= newest:
            raise ValueError(f"calling convention {version}, this JAX reads {oldest} to {newest}")
        found = jax.export.deserialize(bytearray(program))
        found.mlir_module()  # reads the program, which otherwise the first call does
        return found
    except ImportError:
        raise ExportError(
            "to read artefacts JAX needs flatbuffers: pip install flatbuffers"
        ) from None
    except Exception as error:  # JAX reports programs it cannot read by several types
        reason = " ".join(str(error).split())[:200]
        raise ExportError(
            f"jax {jax.__version__} cannot read {path} ({reason}): jax {about['jax']} wrote it, "
            "which JAX promises to read with versions up to three weeks older or six months newer "
            f"(until {about['readable_until']} at the latest); install jax=={about['jax']}, or "
            "export the run again"
        ) from error


def _array(members: dict[str, bytes], each: dict[str, str]) -> np.ndarray:
    # numpy knows no bfloat16: it reads two bytes without a meaning.
    stored = np.load(io.BytesIO(members[f"{each['name']}.npy"]), allow_pickle=False)
    return stored.view(jnp.dtype(each["dtype"]))
