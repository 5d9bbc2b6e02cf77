"""By what a run is judged: the loss that it minimises and the metrics of its task."""

from __future__ import annotations

from deqzoo import catalog
from deqzoo.data.metric import CLASSES, TARGETS, Metric
from deqzoo.runs.run import Run
from deqzoo.training.evaluation import LOSS, named


def metrics_of(run: Run) -> dict[str, Metric]:
    """Name -> metric as recorded, so that ``--init=certified`` keeps its scaled targets.

    Raises:
        CatalogError: a plug-in that is not installed here.
    """
    kind = TARGETS if run.resolved["classes"] is None else CLASSES
    loss = catalog.losses.get(run.resolved["loss"])
    return {LOSS: loss, **named(run.resolved["metrics"], kind)}
