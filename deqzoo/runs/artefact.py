"""A trained model as a file that runs without its Python code: StableHLO and arrays."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from deqzoo import catalog
from deqzoo.core.solution import Status
from deqzoo.data.spec import Spec, as_spec
from deqzoo.nn.model import Model
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs import description, loader
from deqzoo.runs.as_model import as_model
from deqzoo.runs.loader import ExportError
from deqzoo.runs.placement import input_dtype
from deqzoo.runs.run import Run
from deqzoo.settings import quoted
from deqzoo.storage.files import to_json

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_ANY = "batch"  # the name of a batch size that is left open

Arrays = list[Any]


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
        return build(structs, inputs)
    except Exception as error:  # JAX reports what it cannot export by many types
        reason = str(error).strip().partition("\n")[0]
        hint = "; with a fixed batch_size it may" if batch_size is None else ""
        raise ExportError(f"JAX cannot export this model: {reason}{hint}") from error


def inference(model: Model) -> Callable[[Arrays, Any], tuple[Any, dict[str, Any]]]:
    """(arrays of the model as a list, x) -> (outputs, statistics per example).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.runs.artefact import inference
        >>> from deqzoo.models.classifier import Classifier
        >>> from deqzoo.nn import PureModel
        >>> model = Classifier((4,), 3, width=8, rngs=nnx.Rngs(0))
        >>> arrays = jax.tree.leaves(PureModel(model).state)
        >>> outputs, info = inference(model)(arrays, jnp.ones((5, 4)))
        >>> outputs.shape, sorted(info)
        ((5, 3), ['converged', 'residual', 'status', 'steps'])
    """
    pure = PureModel(model)
    structure = jax.tree.structure(pure.state)

    def apply(arrays, x):
        outputs, solution = pure(structure.unflatten(arrays), x)
        stats = solution.stats
        return outputs, {
            "steps": stats.steps,
            "residual": stats.relative_residual,
            "converged": stats.status == Status.CONVERGED,
            "status": stats.status,
        }

    return apply


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


def _named_arrays(model: Model) -> tuple[list[str], Arrays]:
    leaves = jax.tree_util.tree_leaves_with_path(PureModel(model).state._asdict())
    names = ["/".join(str(key.key) for key in path) for path, _ in leaves]
    return names, [np.asarray(leaf) for _, leaf in leaves]


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
