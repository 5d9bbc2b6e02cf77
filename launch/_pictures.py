"""Pictures of a run at its end, where the extra ``plot`` is installed."""

from __future__ import annotations

from rich.console import Console

from deqzoo import catalog
from deqzoo.storage.workdir import Workdir
from deqzoo.training.promises import guarantees
from deqzoo.training.sink import Sink


class Pictures(Sink):
    """Draws to ``<workdir>/plots``.

    Args:
        console: tells where they are.
    """

    def __init__(self, console: Console):
        self._console = console

    def at_start(self, start):
        """Remember whose pictures they are."""
        self._setup, self._plots = start.setup, Workdir(start.folder).plots
        return ()

    def summary(self, end):
        """Training, certificate and activation."""
        try:
            from deqzoo.analysis import plots
        except ModuleNotFoundError:
            self._console.print("no pictures: pip install 'deqzoo[plot]' draws them")
            return {}
        config, certificate = self._setup.config, self._setup.certificate
        title = f"{config.model}, {config.activation}, {config.task}"
        bounded = guarantees.quantity(self._setup.model.guarantees())
        plots.training(end.lines, self._plots / "training.png", title, bounded)
        if certificate is not None:
            plots.promises(end.lines, certificate, self._plots / "certificate.png")
        plots.activation(catalog.activations.get(config.activation), self._plots / "activation.png")
        self._console.print(f"pictures in {self._plots}")
        return {}
