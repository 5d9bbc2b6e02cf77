#!/usr/bin/env bash
# Train on Slurm, one process per GPU, and requeue until the run is finished:
#
#   sbatch --nodes=2 slurm.sh --activation=gelu --workdir=/shared/runs/gelu --batch_size=1024
#
# Everything after the file's name goes to launch.train. --workdir must be on a file system that all
# nodes share. JAX finds coordinator and ranks in SLURM_JOB_ID, SLURM_STEP_NODELIST, SLURM_NTASKS,
# SLURM_PROCID and SLURM_LOCALID, and gives process SLURM_LOCALID the GPU of that number: so ask for
# GPUs per node, never per task (--gpus-per-task hides all others, and number 1 is not there).
#
# Not run on a cluster by us: its syntax, its flags and its exit codes (with a stand-in for srun and
# scontrol) are tested.

#SBATCH --job-name=deqzoo
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# SIGTERM to every process of the step (not to this shell) two minutes before the time limit, and
# up to one minute earlier: time to end the running step and to save.
#SBATCH --signal=TERM@120

set -uo pipefail

# A preempting scheduler signals this shell too. It must outlive the step, or nobody requeues.
trap : TERM

python=${PYTHON:-python3}

# Whoever has saved leaves first: the others get a minute, and whoever hangs is killed then. srun
# returns the highest exit code.
srun --kill-on-bad-exit=0 --wait=60 "$python" -m launch.train \
  --distributed=on --mesh="data:${SLURM_NTASKS}" "$@"
code=$?

if [ "$code" -eq 75 ]; then # saved: the same command goes on from there
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
