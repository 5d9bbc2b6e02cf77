"""TorchDEQ: fixed-point iteration, Anderson and Broyden, implicit gradients by the same solver."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from launch._benchmark.conv import EPSILON, Conv
from launch._benchmark.peer import Case, Job, Outcome, Peer
from launch._benchmark.problem import Drawn, Problem
from launch._benchmark.wide import Wide

__all__ = ["Torchdeq"]

torch: Any = importlib.import_module("torch")
torchdeq: Any = importlib.import_module("torchdeq")
functional: Any = torch.nn.functional

_ANDERSON = ("anderson", "anderson lam=1e-8")
_BROYDEN_STEPS = 300  # it keeps two states a step, for all steps it may take
_PHI = {"relu": torch.relu, "tanh": torch.tanh, "gelu": functional.gelu}


class Torchdeq(Peer):
    """The relative test of the worst sample; the default lam of Anderson is 1e-4."""

    variants = {
        "solve": ("fixed_point_iter", *_ANDERSON, "broyden"),
        "gradient": ("fixed_point_iter", *_ANDERSON, "broyden"),
        "train_step": ("fixed_point_iter", *_ANDERSON, "broyden"),
        "conv": ("fixed_point_iter", *_ANDERSON),
        "memory": ("fixed_point_iter", "anderson", "broyden"),
        "startup": ("fixed_point_iter",),
    }

    def __init__(self, recipes: tuple[str, ...] = ()):
        super().__init__(recipes)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def platform(self) -> str:
        """The kind of device."""
        return torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def make(self, job: Job) -> Case:
        """The job with leaves that keep their gradients."""
        drawn = job.problem.draw()
        layer = _layer(job.problem)
        parameters = self._to_device(_torch_layout(job.problem, drawn))
        solve = _deq(job, job.tolerance)
        z0, target = self._to_device({"z0": _first(drawn.z0), "t": _first(drawn.target)}).values()

        def forward(solve: Callable = solve) -> Any:
            return solve(lambda z: layer(z, parameters), torch.zeros_like(z0))

        def gradient(solve: Callable = solve) -> Any:
            z, info = forward(solve)
            loss = 0.5 * torch.sum((z - target) ** 2) / len(target)
            leaves = list(parameters.values())
            return z, info, loss, torch.autograd.grad(loss, leaves)

        def without_gradient(solve: Callable = solve) -> Any:
            with torch.no_grad():
                return forward(solve)

        def look(tolerance: float) -> Outcome:
            call = gradient if job.kind == "gradient" else without_gradient
            z, info, *rest = call(_deq(job, tolerance))
            found = dict(zip(parameters, rest[1], strict=True)) if rest else {}
            steps = int(info["nstep"].max())
            return Outcome(_back(_plain(z)), steps, _numpy_layout(job.problem, found))

        if job.kind == "train_step":
            return self._train_step(job, drawn, layer, solve, look)
        run = gradient if job.kind == "gradient" else without_gradient
        return Case(run=lambda: self._wait(run()), look=look)

    def _train_step(
        self, job: Job, drawn: Drawn, layer: Callable, solve: Callable, look: Callable
    ) -> Case:
        arrays = {"A": drawn.parameters["A"], **drawn.training}
        held: dict[str, Any] = {}

        def reset() -> None:
            held.update(self._to_device(arrays))
            trained = [held[name] for name in ("A", "U", "readout")]
            held["adam"] = torch.optim.Adam(trained, lr=job.learning_rate)

        def run() -> None:
            held["adam"].zero_grad()
            b = held["x"].detach() @ held["U"]
            start = torch.zeros_like(b)
            z, _ = solve(lambda z: layer(z, {"A": held["A"], "b": b}), start)
            loss = 0.5 * torch.mean((z @ held["readout"] - held["y"].detach()) ** 2)
            loss.backward()
            held["adam"].step()
            self._wait(loss)

        return Case(run=run, look=look, reset=reset)

    def _to_device(self, arrays: Any) -> dict[str, Any]:
        tensors = {name: torch.tensor(value, device=self.device) for name, value in arrays.items()}
        return {name: value.requires_grad_() for name, value in tensors.items()}

    def _wait(self, result: Any) -> Any:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return result


def _deq(job: Job, tolerance: float) -> Callable:
    """func, z0 -> z*, info; in training mode whenever a gradient is wanted."""
    solver, _, ridge = job.variant.partition(" lam=")
    steps = min(job.max_steps, _BROYDEN_STEPS) if solver == "broyden" else job.max_steps
    deq = torchdeq.get_deq(
        f_solver=solver,
        b_solver=solver,
        f_max_iter=steps,
        b_max_iter=steps,
        f_tol=tolerance,
        b_tol=job.backward_tolerance,
        f_stop_mode="rel",
        b_stop_mode="rel",
        ift=True,
    ).train(job.kind != "solve")
    options = {"lam": float(ridge)} if ridge else {}
    if ridge:
        _give_ridge_to_backward(deq, float(ridge))

    def solve(func: Callable, z0: Any) -> Any:
        found, info = deq(func, z0, solver_kwargs=options)
        return found[-1], info

    return solve


def _give_ridge_to_backward(deq: Any, ridge: float) -> None:
    """The backward solver takes no options, so it is wrapped and its gradient made again."""
    plain = deq.b_solver
    deq.b_solver = lambda *args, **options: plain(*args, lam=ridge, **options)
    limits = {"max_iter": deq.b_max_iter, "tol": deq.b_tol, "stop_mode": deq.b_stop_mode}
    deq.produce_grad[-1] = torchdeq.grad.backward_factory(
        grad_type="ift", b_solver=deq.b_solver, b_solver_kwargs=limits
    )


def _layer(problem: Problem) -> Callable:
    if isinstance(problem, Conv):
        return lambda z, parameters: _residual_layer(z, parameters, problem.groups)
    assert isinstance(problem, Wide)
    phi = _PHI[problem.activation]
    return lambda z, parameters: phi(torch.addmm(parameters["b"], z, parameters["A"]))


def _residual_layer(z: Any, p: Any, groups: int) -> Any:
    def norm(value: Any, name: str) -> Any:
        scale, bias = p[f"{name}.scale"], p[f"{name}.bias"]
        return functional.group_norm(value, groups, scale, bias, EPSILON)

    reach = p["conv1.kernel"].shape[-1] // 2
    inner = norm(torch.relu(functional.conv2d(z, p["conv1.kernel"], padding=reach)), "norm1")
    change = p["b"] + functional.conv2d(inner, p["conv2.kernel"], padding=reach)
    return norm(torch.relu(z + norm(change, "norm2")), "norm3")


def _first(value: np.ndarray) -> np.ndarray:
    """Channels first, where there are any."""
    return np.ascontiguousarray(np.moveaxis(value, -1, 1)) if value.ndim == 4 else value


def _back(value: np.ndarray) -> np.ndarray:
    return np.moveaxis(value, 1, -1) if value.ndim == 4 else value


def _plain(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy()


def _torch_layout(problem: Problem, drawn: Drawn) -> dict[str, np.ndarray]:
    if not isinstance(problem, Conv):
        return dict(drawn.parameters)
    return {
        name: np.ascontiguousarray(value.transpose(3, 2, 0, 1))
        if name.endswith("kernel")
        else _first(value)
        for name, value in drawn.parameters.items()
    }


def _numpy_layout(problem: Problem, tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    plain = {name: _plain(value) for name, value in tensors.items()}
    if not isinstance(problem, Conv):
        return plain
    return {
        name: value.transpose(2, 3, 1, 0) if name.endswith("kernel") else _back(value)
        for name, value in plain.items()
    }
