"""Scalars as TensorBoard events, written by tensorboardX."""

from __future__ import annotations

from deqzoo.training.sink import Sink, scalars

__all__ = ["Tensorboard"]


class Tensorboard(Sink):
    """One scalar a number, in ``<workdir>/tensorboard``.

    Events beyond the step at which a run is resumed are hidden.
    """

    package, extra = "tensorboardX", "logs"

    def at_start(self, start):
        """Open the file of events."""
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

        folder = str(start.folder / "tensorboard")
        self._writer = SummaryWriter(folder, purge_step=start.step + 1, write_to_disk=True)
        return ()

    def at_report(self, report):
        """Add the numbers of a line."""
        for name, value in scalars(report).items():
            self._writer.add_scalar(name, value, report["step"])
        return {}

    def close(self):
        """Flush the file."""
        self._writer.close()
