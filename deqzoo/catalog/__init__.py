"""A catalog finds plug-ins by name: the files of a folder, entry points, and run-time registration.

A *member* is one file whose ``__all__`` holds exactly one public object; the name of the file is
the name of the member. Listing the names imports no member. ``deqzoo.recipe`` says what a recipe
is. In names case and underscores are forgiven: ``ReLU`` finds ``relu``.

Example:
    >>> from deqzoo import catalog
    >>> catalog.losses.names()
    ('cross_entropy', 'matching', 'square')
    >>> catalog.solvers.get("anderson(history=6)").history
    6
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deqzoo.catalog.catalog import Catalog
from deqzoo.catalog.choices import choices
from deqzoo.catalog.homes import import_plugin, require_asked_for
from deqzoo.catalog.signature import signature
from deqzoo.recipe import CatalogError, Recipe, snake_case

if TYPE_CHECKING:
    from deqzoo.activation.contract import Activation
    from deqzoo.analysis.experiment import Experiment
    from deqzoo.core.adjoint import Adjoint
    from deqzoo.core.linear_solver import LinearSolver
    from deqzoo.core.regularizer import Regularizer
    from deqzoo.core.solver import Solver
    from deqzoo.data.loss import Loss
    from deqzoo.data.metric import Metric
    from deqzoo.data.task import Task
    from deqzoo.nn.model import Model
    from deqzoo.training.constraint import Constraint
    from deqzoo.training.optimizer import Optimizer
    from deqzoo.training.sink import Sink

__all__ = [
    "ALL",
    "Catalog",
    "CatalogError",
    "Recipe",
    "activations",
    "adjoints",
    "choices",
    "commands",
    "constraints",
    "experiments",
    "import_plugin",
    "require_asked_for",
    "linear_solvers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "signature",
    "sinks",
    "snake_case",
    "solvers",
    "tasks",
]

activations: Catalog[Activation] = Catalog(
    "activation", "activations", "activations", "deqzoo.activation.contract:Activation"
)
solvers: Catalog[Solver] = Catalog(
    "solver", "solvers", "deqzoo.core.solvers", "deqzoo.core.solver:Solver"
)
linear_solvers: Catalog[LinearSolver] = Catalog(
    "linear solver",
    "linear_solvers",
    "deqzoo.core.linear_solvers",
    "deqzoo.core.linear_solver:LinearSolver",
)
adjoints: Catalog[Adjoint] = Catalog(
    "adjoint", "adjoints", "deqzoo.core.adjoints", "deqzoo.core.adjoint:Adjoint"
)
regularizers: Catalog[Regularizer] = Catalog(
    "regularizer", "regularizers", "deqzoo.core.regularizers", "deqzoo.core.regularizer:Regularizer"
)
models: Catalog[Model] = Catalog("model", "models", "deqzoo.models", "deqzoo.nn.model:Model")
tasks: Catalog[Task] = Catalog("task", "tasks", "deqzoo.tasks", "deqzoo.data.task:Task")
losses: Catalog[Loss] = Catalog("loss", "losses", "deqzoo.data.losses", "deqzoo.data.loss:Loss")
metrics: Catalog[Metric] = Catalog(
    "metric", "metrics", "deqzoo.data.metrics", "deqzoo.data.metric:Metric"
)
optimizers: Catalog[Optimizer] = Catalog(
    "optimizer", "optimizers", "deqzoo.training.optimizers", "deqzoo.training.optimizer:Optimizer"
)
constraints: Catalog[Constraint] = Catalog(
    "constraint",
    "constraints",
    "deqzoo.training.constraints",
    "deqzoo.training.constraint:Constraint",
)
sinks: Catalog[Sink] = Catalog(
    "sink", "sinks", "deqzoo.training.sinks", "deqzoo.training.sink:Sink"
)
experiments: Catalog[Experiment] = Catalog(
    "experiment", "experiments", "deqzoo.experiments", "deqzoo.analysis.experiment:Experiment"
)
commands: Catalog[Any] = Catalog("command", "commands", "launch")

ALL: tuple[Catalog[Any], ...] = (
    activations,
    solvers,
    linear_solvers,
    adjoints,
    regularizers,
    models,
    tasks,
    losses,
    metrics,
    optimizers,
    constraints,
    sinks,
    experiments,
    commands,
)
