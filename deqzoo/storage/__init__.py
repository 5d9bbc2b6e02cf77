"""The disk: whole files, folders of runs, checkpoints."""
