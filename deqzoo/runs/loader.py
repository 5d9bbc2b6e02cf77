"""Reads a model that ``deqzoo.export`` wrote, with JAX, NumPy and flatbuffers alone.

This file is also part of every artefact, so that a machine without deqzoo can use one:

    import sys; sys.path.insert(0, "model.stablehlo"); import loader
    outputs, info = loader.load_exported("model.stablehlo")(x)

An artefact is one line (magic word, format, SHA-256 of the rest) followed by a zip archive of
``export.json``, ``program.bin`` (``jax.export``), ``parameters/*.npy``, ``variables/*.npy`` and
``loader.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

FORMAT = 2
_HEADER = re.compile(rb"deqzoo-export (\d{1,9}) sha256 ([0-9a-f]{64})\n")
_LONGEST = 128  # bytes of a header
# What a description must say, and of every array.
_TOLD = {
    "model": str,
    "activation": str,
    "platforms": list,
    "calling_convention": int,
    "jax": str,
    "readable_until": str,
    "input": dict,
    "arrays": list,
}
_TOLD_OF_ARRAYS = {"name": str, "dtype": str}


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
    members = unpack(Path(path))
    about = _description(path, members)
    _require_precision(path, about)
    device = _device(path, about)
    program = _program(path, about, members.get("program.bin", b""))
    with _crafted(path):
        arrays = _arrays(members, about, program)
    return ExportedModel(about, program.call, jax.device_put(arrays, device))


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
    path = _existing(path)
    with path.open("rb") as file:
        _require_whole(path, _HEADER.match(file.read(_LONGEST)), file)
        with _crafted(path), zipfile.ZipFile(file) as archive:
            _require_stored(archive, path.stat().st_size)
            return {name: archive.read(name) for name in archive.namelist()}


def is_artefact(path: Path) -> bool:
    """Whether there is a file that begins like an artefact."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _HEADER.match(file.read(_LONGEST)) is not None


def _existing(path: Path) -> Path:
    with contextlib.suppress(OSError, RuntimeError):  # too long a name, no such home folder
        if path.expanduser().is_file():
            return path.expanduser()
    raise ExportError(f"there is no file {path}: give the path that the model was exported to")


def _require_whole(path: Path, header: re.Match[bytes] | None, file: Any) -> None:
    if header is None:
        raise ExportError(f"{path} is no exported model, or its first line is damaged")
    if int(header[1]) != FORMAT:
        raise ExportError(
            f"{path} has format {header[1].decode()}, this loader reads {FORMAT}: use the "
            "loader.py inside the file, which is a zip archive"
        )
    file.seek(header.end())
    if hashlib.file_digest(file, "sha256").hexdigest() != header[2].decode():
        raise ExportError(f"{path} is damaged (its checksum differs): copy or export it again")


def _require_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse members that would take more memory than the file: ``pack`` compresses nothing."""
    members = archive.infolist()
    if any(each.compress_type != zipfile.ZIP_STORED for each in members):
        raise ValueError("its members are compressed, which those of an artefact are not")
    if sum(each.file_size for each in members) > size:
        raise ValueError("its members are said to be larger than the file")


@contextlib.contextmanager
def _crafted(path: str | Path) -> Iterator[None]:
    """A file whose checksum is right and whose content is not was made by nobody's exporter."""
    try:
        yield
    except Exception as error:  # zipfile and NumPy report such files by a dozen types
        reason = f"no member {error}" if isinstance(error, KeyError) else str(error)
        raise ExportError(
            f"{path} is no artefact that deqzoo wrote ({' '.join(reason.split())[:200]}): export "
            "the model again"
        ) from error


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


def _description(path: str | Path, members: dict[str, bytes]) -> dict[str, Any]:
    with _crafted(path):
        about = json.loads(members["export.json"])
        _require_kinds(about, _TOLD)
        _require_kinds(about["platforms"], dict.fromkeys(range(len(about["platforms"])), str))
        for each in (*about["arrays"], *about["input"]["arrays"]):
            _require_kinds(each, _TOLD_OF_ARRAYS)
        return about


def _require_kinds(record: Any, kinds: dict[Any, type]) -> None:
    for name, kind in kinds.items():
        if not isinstance(record[name], kind):
            raise ValueError(f"export.json says {str(record[name])[:50]} for {name}")


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


def _arrays(members: dict[str, bytes], about: dict[str, Any], program: Any) -> list[np.ndarray]:
    """The arrays that the program takes, once it is found to take what the description says."""
    (wanted, x), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    found = [_described(place, leaf) for place, leaf in jax.tree_util.tree_leaves_with_path(x)]
    batches = {each["shape"].pop(0) for each in found}
    batch = {size if isinstance(size, int) else None for size in batches}
    told = about["input"]
    dtypes = [str(each.dtype) for each in wanted]
    if found != told["arrays"] or batch != {told["batch"]}:
        raise ValueError("its program takes other inputs than export.json says")
    if dtypes != [each["dtype"] for each in about["arrays"]]:
        raise ValueError("its program takes other arrays than export.json says")
    names = [each["name"] for each in about["arrays"]]
    return [_array(members[f"{n}.npy"], each) for n, each in zip(names, wanted, strict=True)]


def _array(data: bytes, wanted: Any) -> np.ndarray:
    # numpy knows no bfloat16: it reads two bytes without a meaning.
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    fits = dtype == wanted.dtype or (dtype.kind == "V" and dtype.itemsize == wanted.dtype.itemsize)
    size = math.prod(shape) * dtype.itemsize
    if shape != wanted.shape or not fits or size != len(data) - file.tell():
        raise ValueError(f"an array is {dtype}{shape} where the program takes {wanted.str_short()}")
    return np.load(io.BytesIO(data), allow_pickle=False).view(wanted.dtype)
