"""Make the file of a model: its program, its arrays, and what they are."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.export
import numpy as np

from deqzoo import catalog
from deqzoo.data.spec import Spec, as_spec
from deqzoo.nn.model import Model
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs import description
from deqzoo.runs.artefact import Artefact
from deqzoo.runs.as_model import as_model
from deqzoo.runs.inference import Arrays, inference
from deqzoo.runs.loader import ExportError
from deqzoo.runs.placement import input_dtype
from deqzoo.runs.run import Run
from deqzoo.settings import quoted

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_TAKEN_OUT = "jax_hlo_source_file_canonicalization_regex"  # of the names of source files
_ANY = "batch"  # the name of a batch size that is left open


def build_artefact(
    model: Model | Run,
    *,
    spec: Any = None,
    platforms: Sequence[str] = (),
    batch_size: int | None = None,
) -> Artefact:
    """A model as a program of any batch size, or of one.

    Args:
        model: a model, or a run.
        spec: of one example, as the model was built for it; that of the run by default.
        platforms: of ``PLATFORMS``; that of this machine by default.
        batch_size: examples in every call; None leaves it open.

    Raises:
        ExportError: flatbuffers is missing, there is no such platform, the model does not take such
            examples, or JAX cannot export it.
    """
    require_flatbuffers()
    require_platforms(platforms)
    own = as_model(model)
    spec = spec_of(model, spec)
    names, arrays = _named_arrays(own)
    inputs = _inputs(spec, input_dtype(own), batch_size)
    built = _exported(own, arrays, inputs, platforms, batch_size)
    about = {
        **description.about(model, spec),
        "input": {
            "arrays": [
                {"name": jax.tree_util.keystr(path), "shape": [*a.shape[1:]], "dtype": str(a.dtype)}
                for path, a in jax.tree_util.tree_leaves_with_path(inputs)
            ],
            "batch": batch_size,
            **description.scaling(model),
        },
        "platforms": list(built.platforms),
        "calling_convention": built.calling_convention_version,
        **description.promise(datetime.date.today()),
        "arrays": [{"name": n, "dtype": str(a.dtype)} for n, a in zip(names, arrays, strict=True)],
    }
    return Artefact(about, bytes(built.serialize()), dict(zip(names, arrays, strict=True)))


def spec_of(model: Model | Run, spec: Any = None) -> Any:
    """What an example is: as given, else as the run says.

    Raises:
        ExportError: neither, or the model does not take such examples.
    """
    if spec is None and isinstance(model, Run):
        return model.spec
    found = as_spec(spec)
    if not all(isinstance(leaf, Spec) for leaf in jax.tree.leaves(found)) or found is None:
        raise ExportError(
            "a model does not say what it takes: give spec=, what the model was built for, such as "
            f"the shape (8,) of one example; got {quoted(spec)}"
        )
    try:
        output_shape(PureModel(as_model(model)), found)
    except ValueError as error:
        raise ExportError(str(error)) from error
    return found


def require_flatbuffers() -> None:
    """Refuse early what JAX refuses late.

    Raises:
        ExportError: the package, which JAX needs to write programs, is missing.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise ExportError(
            "to write artefacts JAX needs flatbuffers: pip install 'deqzoo[export]'"
        ) from None


def require_platforms(names: Sequence[str]) -> None:
    """Refuse what is no platform.

    Raises:
        ExportError: one is none; the message names those that there are.
    """
    for name in names:
        if name not in PLATFORMS:
            raise ExportError(f"no platform is called {name!r}{catalog.choices(name, PLATFORMS)}")


def _inputs(spec: Any, dtype: Any, batch_size: int | None) -> Any:
    batch = jax.export.symbolic_shape(_ANY)[0] if batch_size is None else batch_size
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((batch, *s.shape), dtype if s.size is None else s.dtype),
        spec,
    )


def _exported(
    model: Model, arrays: Arrays, inputs: Any, platforms: Sequence[str], batch_size: int | None
) -> jax.export.Exported:
    platforms = tuple(platforms) or (jax.export.default_export_platform(),)
    structs = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in arrays]
    build = jax.export.export(jax.jit(inference(model)), platforms=platforms)
    try:
        with _without_folders():
            return build(structs, inputs)
    except Exception as error:  # JAX reports what it cannot export by many types
        reason = str(error).strip().partition("\n")[0]
        hint = "; with a fixed batch_size it may" if batch_size is None else ""
        raise ExportError(f"JAX cannot export this model: {reason}{hint}") from error


@contextlib.contextmanager
def _without_folders() -> Iterator[None]:
    """Files by their names alone in what JAX writes down of the places in the code."""
    before = getattr(jax.config, _TAKEN_OUT)
    jax.config.update(_TAKEN_OUT, ".*/")
    try:
        yield
    finally:
        jax.config.update(_TAKEN_OUT, before)


def _named_arrays(model: Model) -> tuple[list[str], Arrays]:
    leaves = jax.tree_util.tree_leaves_with_path(PureModel(model).state._asdict())
    names = ["/".join(str(key.key) for key in path) for path, _ in leaves]
    return names, [np.asarray(leaf) for _, leaf in leaves]
