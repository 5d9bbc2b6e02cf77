"""Pictures of a run (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.analysis.figure import figure
from deqzoo.nn.guarantee import NOTHING
from deqzoo.theory import Certificate, WideLimit, hermite_series
from deqzoo.training.evaluation import LOSS, recorded
from deqzoo.training.update import MULTIPLIER

_SHOWN = {"validation": "C2", "test": "C1"}


def training(metrics: Sequence[dict[str, Any]], path: Path, title: str, bound: str = "") -> Path:
    """Loss, first metric or gradient norm, solver steps, bound and multipliers against the step.

    Args:
        metrics: the lines.
        path: where to write.
        title: above the picture.
        bound: what the metric ``bound`` is of, in symbols; "" where nothing is proved, and the
            residuals are drawn instead.
    """
    with figure(path, 2, 2, (8, 5.6), sharex=True) as (drawn, axes):
        drawn.suptitle(title)
        _curve(axes[0, 0], metrics, "loss", "train (batch)", alpha=0.6)
        for split, colour in _SHOWN.items():
            _curve(axes[0, 0], metrics, f"{split}_loss", split, marker="o", color=colour)
        axes[0, 0].set(yscale="log", ylabel="loss")
        _progress(axes[0, 1], metrics)
        _curve(axes[1, 0], metrics, "solver_steps_max", "largest in batch", color="C3", alpha=0.6)
        _curve(axes[1, 0], metrics, "solver_steps", "mean", color="C0")
        axes[1, 0].set(ylabel="solver steps", xlabel="training step")
        axes[1, 0].set_ylim(bottom=0)
        _guarantee(axes[1, 1], metrics, bound)
        _multipliers(axes[1, 1], metrics)
        for axis in axes.flat:
            axis.legend(frameon=False)
    return path


def promises(metrics: Sequence[dict[str, Any]], certificate: Certificate, path: Path) -> Path:
    """The certified bound, the tangent-kernel prediction and the measured loss; λ_min(G), L‖W‖₂."""
    # A line's loss is that of the weights before its step.
    losses = [{**row, "step": row["step"] - 1} for row in metrics]
    with figure(path, 1, 3, (11, 3.6)) as (drawn, axes):
        left, middle, right = axes[0]
        drawn.suptitle(certificate.title)
        bound = any("certified_loss" in row for row in losses)
        if bound:
            _curve(left, losses, "certified_loss", "certified bound", color="C3", linestyle="--")
        _curve(left, losses, "predicted_loss", "tangent-kernel prediction", color="C1")
        _curve(left, losses, "loss", "measured", color="C0", linestyle=":", linewidth=2.4)
        left.set(yscale="log", xlabel="step", ylabel="½‖ŷ - y‖²")
        _curve(middle, metrics, "lambda_min", "λ_min(G)", marker="o")
        _floor(middle, certificate, bound)
        middle.set(xlabel="step", ylabel="λ_min(G)")
        middle.set_ylim(bottom=0)
        _curve(right, metrics, "gain", "measured", marker="o")
        right.axhline(1, color="C3", linestyle="--", label="no guarantee above")
        right.set(xlabel="step", ylabel="L ‖W‖₂")
        right.set_ylim(0, 1.1)
        for axis in (left, middle, right):
            axis.legend(frameon=False)
    return path


def _floor(axis, certificate: Certificate, bound: bool) -> None:
    """Half of λ_0, below which a certified run cannot fall; λ_0 itself for any other run."""
    if bound and certificate.descent is not None:
        half = certificate.descent.lambda_0 / 2
        axis.axhline(half, color="C3", linestyle="--", label="certified: λ_0/2")
    elif certificate.measured is not None:
        axis.axhline(certificate.measured.lambda_0, color="C7", linestyle=":", label="λ_0")


def kernel(
    limit: WideLimit,
    q: float,
    spectra: dict[str, Sequence[float]],
    path: Path,
) -> Path:
    """Hermite spectrum at variance q with its tail, dual of φ and φ', and kernel eigenvalues.

    Args:
        limit: activation and scales.
        q: a variance of the pre-activations.
        spectra: label -> eigenvalues.
        path: where to write.
    """
    act = limit.activation
    series = hermite_series(act, q, 60)
    with figure(path, 1, 3, (11, 3.6)) as (drawn, axes):
        left, middle, right = axes[0]
        drawn.suptitle(f"{act}, s_w = {limit.s_w:.4g}, s_u = {limit.s_u:.4g}, q = {q:.4g}")
        terms = series.coefficients**2
        shown = np.where(terms > 1e-30, terms, np.nan)
        left.plot(np.arange(len(terms)), shown, ".", color="C2", label="a_k²")
        left.axhline(max(series.tail, 1e-17), color="C7", linestyle=":", label="all beyond k = 60")
        left.set(yscale="log", xlabel="k", ylabel="a_k²", title="Hermite spectrum")
        rho = np.cos(np.linspace(0, np.pi, 201))
        c, variance = rho * q, np.full_like(rho, q)
        with jax.enable_x64(True):
            middle.plot(rho, act.dual_covariance(c, variance, variance), label="E φ(u)φ(v)")
            middle.plot(rho, act.dual_slope(c, variance, variance), label="E φ'(u)φ'(v)")
        middle.set(xlabel="correlation of u and v", title="dual activation")
        for label, eigenvalues in spectra.items():
            values = np.sort(np.asarray(eigenvalues))[::-1]
            right.plot(np.arange(1, len(values) + 1), values, ".-", markersize=3, label=label)
        right.set(xscale="log", yscale="log", xlabel="index", title="eigenvalues")
        for axis in (left, middle, right):
            axis.legend(frameon=False)
    return path


def activation(act: Activation, path: Path, *, degree: int = 12, scale: float = 1.0) -> Path:
    """φ with its declared slope and curvature bounds, its Hermite coefficients, and its dual."""
    x = np.linspace(-5, 5, 801)
    with figure(path, 1, 3, (11, 3.3)) as (drawn, axes):
        left, middle, right = axes[0]
        drawn.suptitle(f"{act}")
        left.plot(x, act.in_float64(x), label="φ")
        left.plot(x, act.slope_in_float64(x), label="φ'")
        for bound in act.slope:
            left.axhline(bound, color="C1", linestyle=":", linewidth=1)
        left.set(xlabel="x", title="dotted: declared slope bounds")
        left.legend(frameon=False)
        coefficients = np.abs(act.hermite(degree, scale))
        middle.bar(
            np.arange(degree + 1), np.where(coefficients > 1e-14, coefficients, np.nan), color="C2"
        )
        middle.set(yscale="log", xlabel="k", title=f"|Hermite coefficient|, s = {scale:g}")
        rho = np.linspace(-1, 1, 201)
        right.plot(rho, act.dual(rho, scale**2), color="C4")
        right.set(xlabel="ρ", title=f"dual E φ(u)φ(v), q = {scale**2:g}")
    return path


def _guarantee(axis, metrics: Sequence[dict[str, Any]], bound: str) -> None:
    """The bound that must stay below 1; the residuals where there is none."""
    if bound:
        _curve(axis, metrics, "bound", "proved bound", marker="o")
        axis.axhline(1, color="C3", linestyle="--", label="no guarantee above")
        axis.set(ylabel=bound, xlabel="training step", ylim=(0, 1.1))
    else:
        _curve(axis, metrics, "residual", "worst in batch", color="C3", alpha=0.6)
        _curve(axis, metrics, "test_residual", "worst of the test split", marker="o", color="C1")
        axis.set(ylabel="relative residual", xlabel="training step")
        if any(np.any(np.asarray(line.get_ydata()) > 0) for line in axis.lines):
            axis.set_yscale("log")  # networks of finite depth leave no residual
        axis.set_title(NOTHING, fontsize=9)


def _multipliers(axis, metrics: Sequence[dict[str, Any]]) -> None:
    """Those of the constraint, where it has any, on an axis of their own."""
    names = dict.fromkeys(name for row in metrics for name in row if name.startswith(MULTIPLIER))
    if not names:
        return
    right = axis.twinx()
    for number, name in enumerate(names):
        _curve(right, metrics, name, name.replace("_", " "), color=f"C{4 + number}", linewidth=1)
    right.set(yscale="log", ylabel="multiplier λ")
    right.legend(frameon=False, loc="lower right")


def _progress(axis, metrics: Sequence[dict[str, Any]]) -> None:
    """The first metric that the task names, the gradient norm where it names none."""
    names = [name for row in metrics for name in recorded(row) if name != LOSS]
    if names:
        for split, colour in _SHOWN.items():
            _curve(axis, metrics, f"{split}_{names[0]}", split, marker="o", color=colour)
        axis.set(ylabel=names[0].replace("_", " "))
    else:
        _curve(axis, metrics, "gradient_norm", "train", color="C1")
        axis.set(ylabel="gradient norm", yscale="log")


def _curve(
    axis, metrics: Sequence[dict[str, Any]], key: str, label: str, marker: str = "", **style: Any
) -> None:
    rows = [(row["step"], row[key]) for row in metrics if row.get(key) is not None]
    if rows:
        steps, values = zip(*rows, strict=True)
        axis.plot(steps, values, marker=marker, markersize=3, label=label, **style)
