"""Where a run comes from: its settings spelled out, and the versions that made it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from deqzoo import catalog
from deqzoo.catalog import Recipe
from deqzoo.storage.checkpoint import FORMAT
from deqzoo.storage.difference import difference
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.given import names_object
from deqzoo.training.launched import launched

_PACKAGES = ("deqzoo", "jax", "flax", "optax", "orbax-checkpoint", "numpy")


def claim(
    workdir: Workdir,
    config: TrainConfig,
    data: str,
    resolve: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """The record of a run: the one on disk if it is the same run, a new one otherwise.

    Args:
        workdir: its folder, locked.
        config: the settings.
        data: the fingerprint of the data.
        resolve: what the settings come to, asked of a new run.

    Raises:
        WorkdirError: the folder holds a run of another format, with other settings or other data.
    """
    record = workdir.read_config()
    if record is None:
        record = {
            "format": FORMAT,
            "config": config.to_dict(),
            "resolved": resolve(),
            "versions": versions(),
            "launched": launched(),
        }
        workdir.write_config(record)
        return record
    require_format(workdir.path, record)
    changes = difference(record["config"], config.to_dict())
    if changes:
        raise WorkdirError(
            f"{workdir.path} holds a run with other settings ({'; '.join(changes)}): "
            "choose another --workdir, or repeat the settings to resume it"
        )
    before = record["resolved"]["data"]
    if before != data:
        raise WorkdirError(
            f"the data of {config.task} changed since the run in {workdir.path} "
            f"began (fingerprint {before}, now {data}): choose another --workdir"
        )
    return record


def settings(file: Path) -> dict[str, Any]:
    """The settings in a config.json, to begin another run from: arguments of ``TrainConfig``.

    Args:
        file: of any run, or a JSON object of settings written by hand.

    Raises:
        ConfigError: no such file, no JSON object of settings, or a setting this version lacks.
    """
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config={file} cannot be read as JSON: {error}") from None
    values = record.get("config", record) if isinstance(record, dict) else None
    if not isinstance(values, dict):
        raise ConfigError(
            f"--config={file} must hold an object of settings, as the config.json of a run does"
        )
    config = TrainConfig.from_dict(values)
    return {**config.to_dict(), "plugin": config.plugin}


def require_format(path: Path, record: dict[str, Any]) -> None:
    """Refuse the record of a run that another version of deqzoo wrote in another way.

    Raises:
        WorkdirError: it did.
    """
    found = record.get("format")
    if found != FORMAT:
        by = record.get("versions", {}).get("deqzoo", "an unknown version")
        raise WorkdirError(
            f"{path} holds a run of format {found}, written by deqzoo {by}, and this version reads "
            f"format {FORMAT} alone: open it with the version that wrote it, or train it again"
        )


def model_arguments(config: TrainConfig) -> dict[str, Any]:
    """The model's arguments with every default written out, as far as JSON can hold them."""
    if names_object(config.model):
        return {"name": config.model}
    recipe = Recipe.parse(config.model)
    parameters = catalog.signature(catalog.models.load(recipe.name)).parameters
    bound = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    bound |= recipe.kwargs | {
        name: getattr(config, name) for name in ("activation", "solver", "adjoint")
    }
    bound |= {} if config.width is None else {"width": config.width}
    plain = {k: v for k, v in bound.items() if v is None or isinstance(v, int | float | str)}
    return {"name": recipe.name, **plain}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers, and the backend."""
    found = {"python": platform.python_version(), "backend": jax.default_backend()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
