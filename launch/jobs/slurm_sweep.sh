#!/usr/bin/env bash
# A sweep as a Slurm array, one part a task, each on one GPU:
#
#   sbatch --array=0-7 slurm_sweep.sh --workdir=/shared/runs/sweep ...
#
# Everything after the file's name goes to launch.sweep, which runs part K of N (counted from 0) and
# skips what is finished. Number the array from 0 without gaps, so that parts and tasks agree. The
# parts are independent processes: nothing is distributed.
#
# Not run on a cluster by us: its syntax, its flags and its exit codes (with a stand-in for srun and
# scontrol) are tested.

#SBATCH --job-name=deqzoo-sweep
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120

set -uo pipefail
trap : TERM # see slurm.sh

python=${PYTHON:-python3}

srun "$python" -m launch.sweep \
  --part="${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}" "$@"
code=$?

if [ "$code" -eq 75 ]; then
  # One task of the array carries the number of the whole array as its SLURM_JOB_ID: requeueing that
  # would take all tasks along.
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
