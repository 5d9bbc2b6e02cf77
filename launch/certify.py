"""Certify a wide DEQ on a task: ``python -m launch.certify --activation=tanh --task=sphere``.

Draws the network z = φ(Wz + Ux), ŷ = az and checks every hypothesis of the convergence theorems
with its actual numbers, then does the same for the limit of infinite width. Writes
certificate.json and kernel.png into --workdir. With --mend the weight-initialisation loop looks for
a certified start; with --kernel=ntk --predict (or nngp) the infinitely wide DEQ predicts the test
split.

Exit codes: 0 done (certified or not), 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from rich.console import Console

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_most
from deqzoo.data.examples import Data, TaskError
from deqzoo.local_path import local_path
from deqzoo.storage import files
from deqzoo.theory import (
    InitialisationError,
    Network,
    WideLimit,
    certified_start,
    certify,
    kernel_regression,
)
from deqzoo.theory.regression import KERNELS
from launch import _command

__all__ = ["main"]

_MENDS = ("no", "labels", "width")
_WIDEST = 2**17  # W alone takes 128 GiB there
_MOST = 2**63 - 1
_LARGEST = 1e30


@dataclass(frozen=True)
class CertifyConfig:
    """Settings of ``launch.certify``."""

    activation: str = _command.option(
        "tanh", "Activation recipe; `python -m launch.list` shows all."
    )
    task: str = _command.option("sphere", "Task recipe, or npz:PATH for your own arrays.")
    examples: int = _command.option(0, "Use only the first so many training examples; 0 takes all.")
    width: int = _command.option(512, "Hidden units m.")
    sigma_w2: float | None = _command.option(
        None, "Ling's sigma_w^2 = s_w^2/2; by default s_w = 0.4/L, which is 0.08 for L = 1."
    )
    s_u: float = _command.option(math.sqrt(2), "Input scale.")
    s_a: float = _command.option(1.0, "Readout scale; 0 for a zero readout.")
    target_scale: float = _command.option(
        1.0, "Targets (labels as one-hot rows) are multiplied by this."
    )
    mend: str = _command.option(
        "no", "Look for a certified start: 'labels' scales the targets down, 'width' doubles m."
    )
    seed: int = _command.option(0, "Seed of the weights.")
    kernel: str = _command.option("ntk", "Kernel of --predict: ntk or nngp.")
    predict: bool = _command.option(False, "Predict the test split with the infinitely wide DEQ.")
    noise: float = _command.option(1e-6, "Noise of --predict, as a share of the kernel's diagonal.")
    workdir: str = _command.option(
        "", "Folder to write to; runs/certify-<activation> if not given."
    )
    plugin: tuple[str, ...] = _command.option(
        (), "Python modules to import first; they register plug-ins. Repeatable."
    )

    def __post_init__(self):
        for name, known in (("mend", _MENDS), ("kernel", KERNELS)):
            if getattr(self, name) not in known:
                raise _command.UsageError(
                    f"--{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}"
                )
        for name, least, most in (
            ("width", 1, _WIDEST),
            ("examples", 0, _MOST),
            ("seed", 0, _MOST),
        ):
            if not least <= getattr(self, name) <= most:
                raise _command.UsageError(
                    f"--{name} must lie in {least} ... {most}, got {getattr(self, name):.15g}"
                )
        for name in ("s_u", "target_scale", "noise"):
            if not 0 < getattr(self, name) <= _LARGEST:
                raise _command.UsageError(
                    f"--{name} must be positive and at most {_LARGEST:g}, got {getattr(self, name)}"
                )
        if self.predict and self.s_a == 0:
            raise _command.UsageError("--predict needs --s_a > 0: the kernels vanish at 0")
        if not 0 <= self.s_a <= _LARGEST or not 0 <= (self.sigma_w2 or 0) < math.inf:
            raise _command.UsageError(f"--s_a (at most {_LARGEST:g}) and --sigma_w2 must be >= 0")

    @property
    def folder(self) -> Path:
        """Where the results go."""
        name = re.sub(r"[^\w.=-]+", "-", self.activation).strip("-")
        return local_path(self.workdir or f"runs/certify-{name}")


def main() -> None:
    """Entry point."""
    _command.start(show, CertifyConfig, usage=__doc__ or "", errors=(InitialisationError,))


def show(config: CertifyConfig) -> int:
    """Certify, predict if asked, print, and write the files."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for module in config.plugin:
        catalog.import_plugin(module)
    act: Activation = catalog.activations.get(config.activation)
    data = catalog.tasks.get(config.task).load()
    x, y = _train(config, data)
    s_w = act.default_s_w if config.sigma_w2 is None else math.sqrt(2 * config.sigma_w2)
    limit = WideLimit(act, s_w, config.s_u, config.s_a)
    _command.make_folder(config.folder, "--workdir")
    network, y = _start(config, console, limit, x, y)
    certificate = certify(network, x, y)
    estimate = certify(limit, x, y, width=network.width)
    console.print(f"{certificate}\n\n{estimate}")
    results: dict[str, Any] = {
        "network": certificate.to_dict(),
        "infinite_width": estimate.to_dict(),
    }
    if config.predict:
        results["prediction"] = _predict(config, console, limit, data)
    path = config.folder / "certificate.json"
    files.write(path, files.to_json(results))
    console.print(f"written: {path}{_draw(config, limit, network, x)}")
    return _command.DONE


def _train(config: CertifyConfig, data: Data) -> tuple[np.ndarray, np.ndarray]:
    known = data.train.examples
    count = config.examples or known
    if count > known:
        raise TaskError(
            f"--examples={count} exceeds the {known} training examples of {config.task}"
        )
    targets = _real_targets(data.train.y, data.classes)
    return data.train.x[:count], targets[:count] * config.target_scale


def _real_targets(y: np.ndarray, classes: int | None) -> np.ndarray:
    return np.asarray(y, np.float64) if classes is None else np.eye(classes)[y]


def _start(
    config: CertifyConfig, console: Console, limit: WideLimit, x: np.ndarray, y: np.ndarray
) -> tuple[Network, np.ndarray]:
    """The network and its targets: one draw, or what the initialisation loop settles on."""
    act, s_w, s_u = limit.activation, limit.s_w, limit.s_u
    if config.mend == "no":
        inputs = math.prod(x.shape[1:])
        scales = {"s_w": s_w, "s_u": s_u, "s_a": limit.s_a}
        return Network.draw(act, config.width, inputs, y.shape[1], **scales, seed=config.seed), y
    start = certified_start(
        act, x, y, width=config.width, s_w=s_w, s_u=s_u, seed=config.seed, mend=config.mend
    )
    for line in (*start.log, f"{start.draws} draws; targets times {at_most(start.label_scale, 4)}"):
        console.print(f"initialisation: {line}")
    console.print()
    return start.network, start.targets


def _predict(
    config: CertifyConfig, console: Console, limit: WideLimit, data: Data
) -> dict[str, float]:
    """Kernel regression on the test split, against the mean of the training targets."""
    started = time.perf_counter()
    x, y = _train(config, data)
    y = y / config.target_scale
    center = y.mean(axis=0)
    fit = kernel_regression(
        limit, x, y - center, data.test.x, kernel=config.kernel, noise=config.noise
    )
    outputs, truth = fit.mean + center, _real_targets(data.test.y, data.classes)
    found = {
        "train_examples": float(len(x)),
        "test_examples": float(len(truth)),
        "test_rmse": float(np.sqrt(np.mean(np.square(outputs - truth)))),
        "test_rmse_of_the_mean": float(np.sqrt(np.mean(np.square(center - truth)))),
        "mean_predictive_deviation": float(np.mean(np.sqrt(fit.variance))),
    }
    if data.classes is not None:
        found["test_accuracy"] = float(np.mean(np.argmax(outputs, axis=1) == data.test.y))
    if config.kernel == "nngp":
        found["log_evidence"] = fit.log_evidence
    found["seconds"] = time.perf_counter() - started
    console.print(f"\n{config.kernel} of the infinitely wide DEQ on the test split:")
    for name, value in found.items():
        console.print(f"  {name.replace('_', ' '):<28} {value:.6g}")
    return found


def _draw(config: CertifyConfig, limit: WideLimit, network: Network, x: np.ndarray) -> str:
    """The picture, where the extra ``plot`` is installed."""
    try:
        from deqzoo.analysis import plots
    except ModuleNotFoundError:
        return "; no picture: pip install 'deqzoo[plot]' draws it"
    spectra = {
        "population K": scipy.linalg.eigvalsh(limit.gram(x)),
        f"G/m at m = {network.width}": scipy.linalg.eigvalsh(network.gram(x) / network.width),
    }
    q = float(np.mean(limit.variances(x).q))
    return f", {plots.kernel(limit, q, spectra, config.folder / 'kernel.png')}"


if __name__ == "__main__":
    main()
