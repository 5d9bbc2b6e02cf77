#!/usr/bin/env bash
# Train on a Cloud TPU pod slice, and go on after every preemption until the run is finished:
#
#   TPU=deqzoo ZONE=us-central2-b TYPE=v4-16 DEVICES=8 tpu_pod.sh --activation=gelu --batch_size=1024
#
# Everything after the file's name goes to launch.train. Runs on your own machine, with gcloud set
# up; keep it alive (tmux). DEVICES is the number of chips of the slice (of cores on v2 and v3).
# WORKDIR must be on a file system that every worker mounts (SETUP is the place to mount it, for
# example Filestore over NFS); a bucket address gs://... is no folder.
#
# The slice is asked for as a *spot* queued resource. When it is preempted its state becomes
# SUSPENDED: it is deleted and asked for again. Spot TPUs get their SIGTERM at best 30 seconds before
# they vanish, so let --checkpoint_every be a few minutes of work.
#
# Not run on a TPU by us: its syntax, its flags and its loop (with a stand-in for gcloud) are tested.

set -uo pipefail

TPU=${TPU:?the name of the TPU, for example deqzoo}
ZONE=${ZONE:?its zone}
TYPE=${TYPE:?its accelerator type, for example v4-16}
DEVICES=${DEVICES:?how many devices JAX sees in all}
VERSION=${VERSION:-tpu-ubuntu2204-base}
WORKDIR=${WORKDIR:-/mnt/runs/$TPU}
SETUP=${SETUP:-python3 -m venv .venv && .venv/bin/pip install --quiet 'deqzoo[tpu] @ file:///mnt/runs/deqzoo'}
PAUSE=${PAUSE:-30} # seconds between looks at the queue

flags=
[ $# -eq 0 ] || flags=$(printf ' %q' "$@")
# On every worker: the same command again while it says 75 (saved after a signal).
remote="cd && while true; do
  .venv/bin/python -m launch.train --distributed=on --mesh=data:$DEVICES --workdir=$WORKDIR$flags
  code=\$?; [ \$code -eq 75 ] || exit \$code
done"

on_all_workers() {
  gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

state() {
  gcloud compute tpus queued-resources describe "$TPU" --zone="$ZONE" \
    --format='value(state.state)' 2>/dev/null
}

request() {
  gcloud compute tpus queued-resources create "$TPU" --node-id="$TPU" --zone="$ZONE" \
    --accelerator-type="$TYPE" --runtime-version="$VERSION" --spot
}

# A slice that is ready; asked for anew where it was preempted.
obtain() {
  while true; do
    case $(state) in
      ACTIVE) return ;;
      '') request || return ;;
      SUSPENDED | FAILED)
        gcloud compute tpus queued-resources delete "$TPU" --zone="$ZONE" --force --quiet || return
        ;;
      *) sleep "$PAUSE" ;;
    esac
  done
}

while true; do
  obtain || exit
  on_all_workers "$SETUP" && on_all_workers "$remote" && exit 0
  code=$?
  # A failure on a slice that is still there is one of the run; otherwise it was preempted.
  sleep "$PAUSE"
  [ "$(state)" != ACTIVE ] || exit "$code"
done
