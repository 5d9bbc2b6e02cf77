"""By what a model is judged: its loss and the metrics of its task."""

from __future__ import annotations

from collections.abc import Iterable

from deqzoo import catalog
from deqzoo.data.examples import Data
from deqzoo.data.metric import CLASSES, TARGETS, Metric
from deqzoo.runs.run import Run
from deqzoo.training.evaluation import LOSS, named


def metrics_of(
    source: Run | Data, metrics: Iterable[str | Metric] | None = None
) -> dict[str, Metric]:
    """Name -> metric, the loss first.

    Args:
        source: a run has them on record, so that ``--init=certified`` keeps its scaled targets;
            data name what fits them.
        metrics: others besides the loss.

    Raises:
        CatalogError: a plug-in that is not installed here.
        TaskError: a metric of another kind of targets.
    """
    if isinstance(source, Run):
        kind = TARGETS if source.resolved["classes"] is None else CLASSES
        loss, own = source.resolved["loss"], source.resolved["metrics"]
    else:
        kind, loss, own = source.kind, source.loss, source.metrics
    return {LOSS: catalog.losses.get(loss), **named(own if metrics is None else metrics, kind)}
