"""The driver's end of a worker: start it, ask it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from launch._benchmark import child

# Every JAX peer computes with the same settings: true float32 products also where the hardware
# would round them, and memory of a GPU as it is needed.
_SETTINGS = {
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # A batch can be spread over the cores; what is not runs on the first device, with all cores.
    "JAX_NUM_CPU_DEVICES": str(os.cpu_count() or 1),
}


class WorkerError(RuntimeError):
    """A worker could not do what it was asked; the message says why."""


class Worker:
    """A process for one peer.

    Args:
        peer: the name of the peer.
        recipes: further variants.
        environment: set for this process only.
        patience: seconds to wait for an answer.
    """

    def __init__(
        self,
        peer: str,
        recipes: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        patience: float = 600.0,
    ):
        self.peer = peer
        self._patience = patience
        self._end = contextlib.ExitStack()
        self._end.callback(lambda: self._process.communicate())
        self._process = self._end.enter_context(
            child.running(
                [sys.executable, "-m", "launch._benchmark.worker", peer, *recipes],
                {**_SETTINGS, **os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
        self._rest = b""
        try:
            self.greeting = self._answer()
        except WorkerError:
            self.close()
            raise

    @property
    def process(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            WorkerError: the peer raised an error, ended, or did not answer in time.
        """
        line = json.dumps({"do": do, **request}) + "\n"
        try:
            os.write(self._input, line.encode())
        except OSError:
            raise WorkerError(self._ended()) from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._end.close()

    @property
    def _input(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def _answer(self) -> dict[str, Any]:
        answer = json.loads(self._line())
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if not select.select([output], [], [], self._patience)[0]:
                self.close()
                raise WorkerError(f"no answer within {self._patience:g} s")
            piece = os.read(output, 65536)
            if not piece:
                raise WorkerError(self._ended())
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _ended(self) -> str:
        return f"its process ended with code {self._process.wait(10)}"
