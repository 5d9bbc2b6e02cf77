"""What a run can tell: loading it, its pictures."""

from deqzoo.analysis.run import Run, load_run

__all__ = ["Run", "load_run"]
