"""Everything that decides a training run, as one frozen dataclass; a field is a flag."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx

from deqzoo import catalog
from deqzoo.core import combination
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solver import Solver
from deqzoo.data.examples import Data
from deqzoo.data.loss import Loss
from deqzoo.data.spec import as_spec
from deqzoo.nn.model import Model
from deqzoo.recipe import Recipe
from deqzoo.settings import In, OneOf, SettingError, fitted, quoted, validate
from deqzoo.training.optimizer import CERTIFIED, NTK, Optimizer
from deqzoo.training.seed_key import seed_key

PRECISIONS = ("float32", "bfloat16", "float64")
FULL = "full"
DRAWN = "drawn"
INITS = (DRAWN, CERTIFIED)
Count = Annotated[int, In("[1, inf)")]
Number = Annotated[int, In("[0, inf)")]
_NUMBERS = ("batch_size", "learning_rate")  # which may be words too
_RECIPES = {
    "activation": catalog.activations,
    "adjoint": catalog.adjoints,
    "constraint": catalog.constraints,
    "loss": catalog.losses,
    "optimizer": catalog.optimizers,
    "regularizer": catalog.regularizers,
    "solver": catalog.solvers,
    "task": catalog.tasks,
}
_OTHERS = 2**31  # far from the numbers of the draws of a stream


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the flag, what it takes and what came."""


def option(default: Any, text: str) -> Any:
    """A field that is a flag: its default and its help."""
    return field(default=default, metadata={"help": text})


def validate_flags(options: Any) -> None:
    """Refuse settings that do not fit their annotations.

    Raises:
        ConfigError: one does not; the message names its flag.
    """
    try:
        validate(options)
    except SettingError as error:
        raise ConfigError(f"--{error}") from None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run.

    Plug-ins are named by recipes such as ``leaky_relu(negative_slope=0.2)``.

    Example:
        >>> from deqzoo.training import TrainConfig
        >>> TrainConfig(activation="tanh").resolved_workdir
        'runs/tanh'
    """

    activation: str = option("gelu", "Activation recipe; `python -m launch.list` shows all.")
    model: str = option("classifier", "Model recipe.")
    task: str = option("digits", "Task recipe, or npz:FILE, npy:FOLDER or idx:FOLDER for your own.")
    width: Count | None = option(None, "Hidden units; the model's own default if not given.")
    solver: str = option(str(Recipe.of(DEFAULT_SOLVER)), "Forward solver recipe.")
    adjoint: str = option(
        str(Recipe.of(DEFAULT_ADJOINT)), "Adjoint recipe: how the equilibrium is differentiated."
    )
    regularizer: str | None = option(
        None, "Penalty on the fixed point, for example jacobian_norm(weight=0.1)."
    )
    warm_start: bool = option(
        False, "Start every solve from the last step's equilibria (with --batch_size=full)."
    )
    optimizer: str = option("adam", "Optimizer recipe.")
    learning_rate: str | float | None = option(
        None,
        "Step size; 'ntk' for 1/lambda_max of the tangent kernel (square loss); 'certified' for "
        "the largest step of Theorem A (--model=wide); the optimizer's own if not given.",
    )
    loss: str | None = option(
        None,
        "Loss recipe; what the task names if not given: as a rule cross_entropy for classes and "
        "square for real targets.",
    )
    constraint: str = option(
        "rescale", "What keeps L*||W||_2 below 1: rescale, projection, multiplier or monitor."
    )
    certify: bool = option(
        False,
        "Check the convergence theorems at initialisation (--model=wide --loss=square), and in a "
        "full-batch gradient descent watch every certified inequality.",
    )
    init: Annotated[str, OneOf(*INITS)] = option(
        DRAWN,
        "'drawn' as the model draws its weights; 'certified': zero readout, and targets scaled "
        "down until Theorem A holds.",
    )
    batch_size: str | int = option("128", "Examples a step, or 'full'.")
    steps: Count = option(500, "Training steps.")
    seed: Number = option(0, "Seed of the weights and of the batches.")
    precision: Annotated[str, OneOf(*PRECISIONS)] = option(
        "float32",
        "float32, float64, or bfloat16: cell, stem and head are evaluated in bfloat16; weights, "
        "states and sums stay in float32.",
    )
    init_from: str = option(
        "", "Begin with the weights of the run in this folder, or of the trained member zoo:NAME."
    )
    log_every: Count = option(10, "Steps between lines of metrics.jsonl.")
    eval_every: Count = option(100, "Steps between evaluations on the validation and test splits.")
    checkpoint_every: Count = option(100, "Steps between checkpoints.")
    keep: Count = option(2, "Newest checkpoints that stay, to resume from.")
    keep_best: Number = option(1, "Best checkpoints that stay besides, on the validation split.")
    keep_best_by: str = option("loss", "What makes a checkpoint the best: the loss or a metric.")
    keep_every: Number = option(0, "Checkpoints at multiples of this stay too; 0 keeps none.")
    workdir: str = option("", "Folder of the run; runs/<activation> if not given.")
    plugin: tuple[str, ...] = option(
        (), "Python modules to import first; they register plug-ins. Repeatable."
    )

    def __post_init__(self):
        for setting in fields(self):
            self._write_down(setting)
        validate_flags(self)
        self._require_batch_size()
        if self.warm_start and self.batch_size != FULL:
            raise ConfigError(
                "--warm_start needs the same examples in every step: add --batch_size=full"
            )

    def _write_down(self, setting: Field) -> None:
        """Numbers and plug-ins become the text that the command line and config.json have."""
        if "str" not in str(setting.type).split(" | "):
            return
        value = getattr(self, setting.name)
        if value is None and setting.default is None:
            return
        object.__setattr__(self, setting.name, _text(setting.name, value))

    def _require_batch_size(self) -> None:
        allowed = Count | Annotated[str, OneOf(FULL)]
        try:
            fitted("batch_size", _whole(str(self.batch_size)), allowed)
        except SettingError as error:
            raise ConfigError(f"--{error}") from None

    @property
    def dtype(self) -> str:
        """Of weights, states and sums."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def compute(self) -> str | None:
        """Of the products of the model, where it is not ``dtype``."""
        return "bfloat16" if self.precision == "bfloat16" else None

    @property
    def resolved_workdir(self) -> str:
        """The folder of the run."""
        return self.workdir or "runs/" + re.sub(r"[^\w.=-]+", "-", self.activation).strip("-")

    def import_plugins(self) -> None:
        """Import the plug-in modules, so that their members have names."""
        for module in self.plugin:
            catalog.import_plugin(module)

    def build_model(self, spec: Any, outputs: int, constants: Any = None) -> Model:
        """The model for examples of ``spec``, with weights drawn from the seed.

        Args:
            spec: of one example, as in ``Data``.
            outputs: width of its output.
            constants: of the task, where it has any.
        """
        given = {} if constants is None else {"constants": constants}
        width = {} if self.width is None else {"width": self.width}
        solver, adjoint = self.build_solver(), catalog.adjoints.get(self.adjoint)
        combination.require(solver, adjoint)
        return catalog.models.get(
            self.model,
            spec=as_spec(spec),
            outputs=outputs,
            activation=catalog.activations.get(self.activation),
            solver=solver,
            adjoint=adjoint,
            rngs=self.streams(),
            dtype=jnp.dtype(self.dtype),
            **width,
            **given,
        )

    def streams(self) -> nnx.Rngs:
        """The stream of the weights, and one for whatever else a model draws."""
        others = jax.random.fold_in(seed_key(self.seed), _OTHERS)
        return nnx.Rngs(others, params=seed_key(self.seed))

    def build_solver(self) -> Solver:
        """The forward solver, keeping the iterates that the regularizer looks at."""
        solver = catalog.solvers.get(self.solver)
        regularizer = self.build_regularizer()
        needed = () if regularizer is None else regularizer.trajectory()
        return replace(solver, trajectory=needed) if needed else solver

    def build_regularizer(self) -> Regularizer | None:
        """The penalty, if there is one."""
        return None if self.regularizer is None else catalog.regularizers.get(self.regularizer)

    def build_optimizer(self, loss: Loss) -> Optimizer:
        """The optimizer with ``learning_rate`` applied.

        Raises:
            ConfigError: the learning rate is no positive number, or 'ntk' with a loss other than
                the square, or the warm-up longer than the run.
        """
        optimizer = catalog.optimizers.get(self.optimizer)
        try:
            optimizer = optimizer.with_learning_rate(_rate(self.learning_rate))
        except ValueError as error:
            raise ConfigError(f"--learning_rate: {error}") from None
        if optimizer.learning_rate == NTK and not loss.is_sum:
            raise ConfigError(
                "the step size 'ntk' is 1/lambda_max of the square loss; with another loss give a "
                "number, "
                "for example --learning_rate=0.1, or --loss=square"
            )
        try:
            optimizer.require_room(self.steps)
        except ValueError as error:
            raise ConfigError(f"--optimizer: {error}") from None
        return optimizer

    def build_loss(self, data: Data) -> Loss:
        """The loss, named by the task if not given.

        Raises:
            ConfigError: a loss that does not speak of the task's kind of targets.
        """
        loss = catalog.losses.get(self.loss or data.loss)
        if data.kind not in loss.takes:
            raise ConfigError(
                f"--loss={self.loss or data.loss} needs {' or '.join(loss.takes)}, but the task "
                f"{self.task!r} has {data.kind}: use --loss=square"
            )
        return loss

    def require_metric(self, names: Iterable[str]) -> None:
        """Refuse to choose checkpoints by what is not measured.

        Raises:
            ConfigError: ``keep_best_by`` is none of these.
        """
        if self.keep_best_by not in names:
            raise ConfigError(
                f"--keep_best_by must be one of {', '.join(names)}; got {self.keep_best_by!r}"
            )

    def batch_of(self, examples: int) -> int:
        """The number of examples a step.

        Raises:
            ConfigError: more than there are.
        """
        size = examples if self.batch_size == FULL else int(self.batch_size)
        if size > examples:
            raise ConfigError(
                f"--batch_size={size} exceeds the {examples} training examples: use "
                "--batch_size=full"
            )
        return size

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the place of the run."""
        return {
            **{k: v for k, v in asdict(self).items() if k != "workdir"},
            "plugin": list(self.plugin),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], workdir: str = "") -> TrainConfig:
        """Undo ``to_dict``.

        Raises:
            ConfigError: a key this version does not know.
        """
        unknown = sorted(values.keys() - {option.name for option in fields(cls)})
        if unknown:
            raise ConfigError(
                f"unknown settings {', '.join(unknown)}: the run was made by another version of "
                "deqzoo"
            )
        return cls(**{**values, "plugin": tuple(values.get("plugin", ())), "workdir": workdir})


def _text(name: str, value: Any) -> str:
    """The text of a setting.

    Raises:
        ConfigError: there is none that could be read back.
    """
    if isinstance(value, str):
        return value
    if name in _NUMBERS:
        with contextlib.suppress(SettingError):
            return repr(fitted(name, value, int | float))
    if name in _RECIPES:
        recipe = _RECIPES[name].recipe_of(value)
        if recipe is not None:
            return recipe
    raise ConfigError(
        f"--{name} must be text that config.json can hold, such as a recipe, got {quoted(value)}; "
        "deqzoo.fit takes a model and data as objects"
    )


def _whole(text: str) -> Any:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else text


def _rate(text: str | float | None) -> float | str | None:
    if text is None or text in (NTK, CERTIFIED):
        return text
    try:
        return float(text)
    except ValueError:
        return text
