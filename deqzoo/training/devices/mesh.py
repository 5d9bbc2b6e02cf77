"""The devices of a run as a mesh with two axes: data, which shares out examples, and model."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from deqzoo.training.config import ConfigError

DATA, MODEL = "data", "model"
_SHAPE = "expected for example data:4 or data:4,model:2"


def build(text: str, batch: int, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run.

    Args:
        text: ``"data:4,model:2"``; an axis that is not named has one device. Empty: as many devices
            along ``data`` as divide the batch.
        batch: examples a step, which ``data`` must divide.
        devices: by default all of all processes.

    Raises:
        ConfigError: another text, more devices than there are, a batch that cannot be shared out,
            or a process none of whose devices would take part.

    Example:
        >>> from deqzoo.training.devices import mesh
        >>> dict(mesh.build("data:1", batch=128).shape)
        {'data': 1, 'model': 1}
    """
    devices = tuple(jax.devices() if devices is None else devices)
    shape = parse(text) if text else {DATA: math.gcd(batch, len(devices)), MODEL: 1}
    count = math.prod(shape.values())
    if count > len(devices):
        raise ConfigError(
            f"--mesh={text} needs {count} devices, there are {len(devices)}: name fewer, or on a "
            f"CPU start with XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    if batch % shape[DATA]:
        raise ConfigError(
            f"{batch} examples a step cannot be shared out evenly over {shape[DATA]} devices: "
            "change --batch_size or --mesh"
        )
    _require_every_process(devices, count, batch)
    grid = np.array(devices[:count]).reshape(shape[DATA], shape[MODEL])
    return Mesh(grid, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


def parse(text: str) -> dict[str, int]:
    """``"data:4"`` -> ``{"data": 4, "model": 1}``.

    Raises:
        ConfigError: anything else.
    """
    shape: dict[str, int] = {}
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(rf"({DATA}|{MODEL}):([1-9]\d{{0,17}})", part)
        if match is None or match[1] in shape:
            raise ConfigError(f"--mesh={text} names no mesh: {_SHAPE}")
        shape[match[1]] = int(match[2])
    return {DATA: 1, MODEL: 1, **shape}


def _require_every_process(devices: Sequence[Any], count: int, batch: int) -> None:
    idle = {d.process_index for d in devices} - {d.process_index for d in devices[:count]}
    if idle:
        raise ConfigError(
            f"{count} of {len(devices)} devices would leave processes {sorted(idle)} without work: "
            f"choose a --batch_size that {len(devices)} divides (it is {batch}), or a --mesh of "
            "all devices"
        )
