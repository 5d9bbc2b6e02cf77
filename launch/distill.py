"""Replace an activation by a spline: ``python -m launch.distill --activation=gelu --knots=9``.

Writes a plug-in of straight pieces, <output>, with the bounds of its slopes and of its distance
from the activation, and a picture of both beside it. Use it by ``--plugin`` with its name without
.py, or drop it into ``activations/``. With --interval=LOW,HIGH knots are spread there alone.

Exit codes: 0 done, 2 wrong usage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deqzoo import catalog
from deqzoo.activation.digits import at_least
from deqzoo.local_path import local_path
from deqzoo.recipe import Recipe
from deqzoo.splines import Distilled, distill
from deqzoo.storage import files
from launch import _command, _output

__all__ = ["main"]

_FIRST_LINE = '"""A spline in place of '
_PLUG_IN = '''\
{first_line}{recipe}: {knots} knots, |φ - s| <= {error} for {low:g} <= x <= {high:g}.

Written by ``python -m launch.distill --activation="{recipe}" --knots={asked}{interval}``.
"""

from __future__ import annotations

from dataclasses import dataclass

import activations
from deqzoo.activation.piecewise_linear import PiecewiseLinear

__all__ = ["{class_name}"]


@activations.register(name="{name}")
@dataclass(frozen=True)
class {class_name}(PiecewiseLinear):
    """{recipe} in straight pieces, with slopes in [{least}, {most}]."""

    knots: tuple[float, ...] = (
{knot_lines}
    )
    slopes: tuple[float, ...] = (
{slope_lines}
    )
    offset: float = {offset!r}
'''


@dataclass(frozen=True)
class DistillConfig:
    """Settings of ``launch.distill``."""

    activation: str = _command.option("gelu", "Activation recipe.")
    knots: int = _command.option(9, "Knots of the spline, at most.")
    interval: str = _command.option(
        "", "LOW,HIGH: where the knots are spread; by default where the activation bends."
    )
    output: str = _command.option("", "File to write; <activation>_<knots>.py if not given.")
    plugin: tuple[str, ...] = _command.option(
        (), "Python modules to import first; they register plug-ins. Repeatable."
    )

    def __post_init__(self):
        if self.path.suffix != ".py" or not self.path.stem.isidentifier():
            raise _command.UsageError(
                f"--output must be a file of Python, such as my_gelu.py, got {self.path.name!r}"
            )

    @property
    def path(self) -> Path:
        """Where the plug-in goes."""
        name = re.sub("[^A-Za-z0-9]+", "_", self.activation).strip("_")
        return local_path(self.output or f"{name}_{self.knots}.py")

    @property
    def between(self) -> tuple[float, float] | None:
        """The interval."""
        if not self.interval:
            return None
        try:
            low, high = (float(end) for end in self.interval.split(","))
        except ValueError:
            raise _command.UsageError(
                f"--interval must be two numbers, such as -4,4; got {self.interval!r}"
            ) from None
        return low, high


def main() -> None:
    """Entry point."""
    _command.start(write, DistillConfig, usage=__doc__ or "")


def write(config: DistillConfig) -> int:
    """Distill, write the plug-in and the picture, and say how good it is."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for module in config.plugin:
        catalog.import_plugin(module)
    act, between = catalog.activations.get(config.activation), config.between
    name = config.path.stem
    if name in catalog.activations.names():
        raise _command.UsageError(f"an activation is called {name!r}: choose another --output")
    _output.claim(config.path, _is_plug_in, "plug-in of launch.distill")
    try:
        found = distill(act, config.knots, between)
    except ValueError as error:
        raise _command.UsageError(str(error)) from None
    files.write(config.path, _text(config, found))
    low, high = found.where
    console.print(
        f"{len(found.spline.kinks)} knots: |φ - s| <= {at_least(found.error, 4)} for x in "
        f"[{low:g}, {high:g}] (proved), {at_least(found.tail, 4)} beyond (measured up to 1e8)"
    )
    console.print(f"written: {config.path}{_draw(config, found)}")
    console.print(f"try it: python -m launch.train --plugin={name} --activation={name}")
    return _command.DONE


def _is_plug_in(path: Path) -> bool:
    return path.is_file() and files.read(path).decode(errors="replace").startswith(_FIRST_LINE)


def _text(config: DistillConfig, found: Distilled) -> str:
    """The plug-in as a file of Python."""
    spline, name = found.spline, config.path.stem
    lines = (
        "\n".join(f"        {number!r}," for number in numbers)
        for numbers in (spline.knots, spline.slopes)
    )
    recipe = catalog.activations.recipe_of(found.of) or str(Recipe.of(found.of))
    return _PLUG_IN.format(
        first_line=_FIRST_LINE,
        recipe=recipe,
        knots=len(spline.kinks),
        asked=config.knots,
        interval=f" --interval={config.interval}" if config.interval else "",
        error=at_least(found.error, 4),
        low=found.where[0],
        high=found.where[1],
        name=name,
        class_name="".join(part.capitalize() for part in name.split("_")) or "Distilled",
        least=min(spline.slopes),
        most=max(spline.slopes),
        knot_lines=next(lines),
        slope_lines=next(lines),
        offset=spline.offset,
    )


def _draw(config: DistillConfig, found: Distilled) -> str:
    """The picture, where the extra ``plot`` is installed."""
    try:
        from deqzoo.analysis.distilled_picture import distilled_picture
    except ModuleNotFoundError:
        return "; no picture: pip install 'deqzoo[plot]' draws it"
    return f", {distilled_picture(found, config.path.with_suffix('.png'))}"


if __name__ == "__main__":
    main()
