"""Several processes that train one model together, through JAX's own runtime."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from deqzoo.training.options import AUTO, OFF, ON, RunOptions

# What JAX reads in a job step of Slurm, under Open MPI's mpirun and in a Job of Kubernetes, and the
# variable that tells the number of processes.
_SCHEDULERS = (
    (
        "Slurm",
        ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID")
        + ("SLURM_LOCALID", "SLURM_STEP_NUM_NODES"),
        "SLURM_NTASKS",
    ),
    (
        "Open MPI",
        ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        "OMPI_COMM_WORLD_SIZE",
    ),
    ("Kubernetes", ("JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"), ""),
)
_MEGASCALE = "MEGASCALE_COORDINATOR_ADDRESS"


class DistributedError(RuntimeError):
    """The processes of a run cannot find one another; the message says what is missing."""


def join(options: RunOptions, environment: Mapping[str, str] = os.environ) -> str | None:
    """Join the other processes of the run, before JAX is used for anything else.

    Args:
        options: ``distributed``, ``coordinator``, ``num_processes``, ``process_id``.
        environment: what a scheduler has set.

    Returns:
        A sentence about it; None where there is nothing to say.

    Raises:
        DistributedError: no cluster, a variable that is missing, or nobody who answers.
    """
    if options.distributed == OFF:
        return None
    if not options.coordinator:
        scheduler, missing = detect(environment)
        if missing and options.distributed == ON:
            raise DistributedError(
                f"--distributed=on, but {scheduler} has not set {missing}: start the processes "
                "with srun or mpirun, or give --coordinator, --num_processes and --process_id"
            )
        if options.distributed == AUTO and (scheduler is None or missing):
            return missing and f"one process by itself: {scheduler} has not set {missing}"
    given = {
        "coordinator_address": options.coordinator or None,
        "num_processes": options.num_processes,
        "process_id": options.process_id,
        "heartbeat_timeout_seconds": options.heartbeat,
    }
    try:
        jax.distributed.initialize(**given)
    except Exception as error:  # of many kinds, from several schedulers
        raise DistributedError(
            f"the processes could not join ({' '.join(str(error).split())[:300]}): expected the "
            "variables of Slurm, Open MPI, Kubernetes or a TPU pod, or --coordinator=HOST:PORT "
            "with --num_processes and --process_id, and every process started"
        ) from error
    return f"process {jax.process_index()} of {jax.process_count()}"


def detect(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The scheduler that started several processes, and the variable that it failed to set.

    Which process is which is left to JAX; of its variables a shell inside an allocation has only
    some, with which JAX would wait in vain or stop.
    """
    for scheduler, variables, size in _SCHEDULERS:
        if variables[0] in environment and environment.get(size) != "1":
            return scheduler, next((name for name in variables if name not in environment), None)
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") or _MEGASCALE in environment:
        return "the TPU pod", None
    return None, None


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Where a process of several cannot go on, it ends at once, with exit code 1.

    That is what happens to the others when one of them is killed. Left to itself JAX would wait for
    the lost one for minutes before it lets this one end, and the job with it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = " ".join(str(error).split())[:300]
        print(
            f"error: process {jax.process_index()} cannot go on, perhaps because another one was "
            f"lost ({reason}): start all of them again with the same command, and the run goes on "
            "from its newest checkpoint",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


def is_lead() -> bool:
    """Whether this process writes the files of the run."""
    return jax.process_index() == 0


def numbers_of_all(number: int) -> list[int]:
    """The whole number that every process has, in the order of the processes."""
    if jax.process_count() == 1:
        return [number]
    return np.ravel(multihost_utils.process_allgather(np.int32(number))).tolist()


def decided_by_lead(decide: Callable[[], Any]) -> Any:
    """What ``decide()`` returns or raises in the first process, in all of them.

    Without it one process would raise and the others wait for it.
    """
    if jax.process_count() == 1:
        return decide()
    outcome: tuple[bool, Any] = (True, None)
    if is_lead():
        try:
            outcome = (True, decide())
        except Exception as error:
            outcome = (False, error)
    message = np.frombuffer(pickle.dumps(outcome), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(message))))
    padded = message if is_lead() else np.zeros(size, np.uint8)
    good, result = pickle.loads(multihost_utils.broadcast_one_to_all(padded).tobytes())
    if not good:
        raise result
    return result
