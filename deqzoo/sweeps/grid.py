"""From the flags of a sweep to its cells: a flag that names several values is an axis of the grid.

A *cell* is one assignment of the axes; its seeds are trained together.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import types
import typing
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deqzoo.training.config import ConfigError, TrainConfig

_OWN = ("seed", "workdir", "plugin")  # said once for the whole sweep
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_LONGEST = 150  # of a folder's name; file systems take 255 bytes
_MOST = 2**32  # seeds below it
_MOST_COUNTED = 10**5


@dataclass(frozen=True)
class Cell:
    """One assignment of the axes.

    Attributes:
        axes: (flag, value) of every flag that names several values.
        config: the settings of its runs; the seed and the folder are not decided here.
    """

    axes: tuple[tuple[str, Any], ...]
    config: TrainConfig

    @property
    def name(self) -> str:
        """``activation=relu, width=256``; without axes the activation alone."""
        axes = self.axes or (("activation", self.config.activation),)
        return ", ".join(f"{flag}={value}" for flag, value in axes)

    @property
    def folder(self) -> str:
        """The name as a file name, which no other cell of the sweep has."""
        quoted = urllib.parse.quote(
            self.name.replace(", ", ","), safe="=,()'", errors="surrogateescape"
        )
        if len(quoted) <= _LONGEST:
            return quoted
        return f"{quoted[:_LONGEST]}-{hashlib.sha256(quoted.encode()).hexdigest()[:12]}"


def flags() -> tuple[dataclasses.Field, ...]:
    """The settings of a run that may be an axis."""
    return tuple(option for option in dataclasses.fields(TrainConfig) if option.name not in _OWN)


def cells(given: Mapping[str, str], plugin: tuple[str, ...] = ()) -> tuple[Cell, ...]:
    """The grid of everything that was given, the last flag varying fastest.

    Args:
        given: flag -> its text on the command line; the other flags keep their defaults.
        plugin: modules that register plug-ins.

    Raises:
        ConfigError: a value that its flag cannot take, said of the cell where there are several.

    Example:
        >>> from deqzoo.sweeps import grid
        >>> given = {"activation": "relu,leaky_relu(negative_slope=0.2)", "width": "64"}
        >>> [cell.name for cell in grid.cells(given)]
        ['activation=relu', 'activation=leaky_relu(negative_slope=0.2)']
    """
    values = {flag: _values(flag, text) for flag, text in given.items()}
    several = [flag for flag in values if len(values[flag]) > 1]
    return tuple(
        _cell(dict(zip(values, chosen, strict=True)), several, plugin)
        for chosen in itertools.product(*values.values())
    )


def seeds(text: str) -> tuple[int, ...]:
    """The seeds that ``--seeds`` names: ``5`` for 0 to 4, ``0,3,7`` for these, ``7,`` for 7 alone.

    Raises:
        ConfigError: anything else, or a seed twice.
    """
    parts = [part.strip() for part in text.removesuffix(",").split(",")]
    if not all(re.fullmatch(r"\d{1,18}", part) for part in parts) or text.strip() == "0":
        raise ConfigError(
            f"--seeds must be a count such as 5, or seeds such as 0,3,7 (one seed: '7,'); got "
            f"{text!r}"
        )
    numbers = [int(part) for part in parts]
    if "," not in text and numbers[0] > _MOST_COUNTED:
        raise ConfigError(
            f"--seeds={text} asks for {numbers[0]} seeds, more than {_MOST_COUNTED}: '{text},' is "
            "the one seed of this number"
        )
    found = tuple(numbers) if "," in text else tuple(range(numbers[0]))
    if len({*found}) < len(found) or max(found) >= _MOST:
        raise ConfigError(f"--seeds must be different whole numbers below 2**32, got {text!r}")
    return found


def part(text: str, count: int) -> range:
    """The cells that ``--part=K/N`` names out of ``count``: K, K + N, ...; all of them if empty.

    Raises:
        ConfigError: not of that form with 0 <= K < N.
    """
    match = re.fullmatch(r"(\d{1,18})/(\d{1,18})", text.strip() or "0/1")
    if match is None or not int(match[1]) < int(match[2]):
        raise ConfigError(
            f"--part must be K/N with 0 <= K < N, for example --part=0/4 for the first of four; "
            f"got {text!r}"
        )
    return range(int(match[1]), count, int(match[2]))


def split(text: str) -> list[str]:
    """The values of a list: cut at the commas that stand outside brackets and quotes.

    Example:
        >>> from deqzoo.sweeps import grid
        >>> grid.split("relu,anderson(history=6, ridge=1e-8),'a,b'")
        ['relu', 'anderson(history=6, ridge=1e-8)', "'a,b'"]
    """
    values, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += 0 if quote else (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0 and not quote:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]


def _values(flag: str, text: str) -> list[Any]:
    parts = split(text)
    if "" in parts:
        raise ConfigError(f"--{flag} holds an empty value: got {text!r}")
    values = [_value(flag, each) for each in parts]
    twice = next((each for number, each in enumerate(values) if each in values[:number]), None)
    if twice is not None:
        raise ConfigError(f"--{flag} names {twice!r} twice: got {text!r}")
    return values


def _value(flag: str, text: str) -> Any:
    kind = _kind(typing.get_type_hints(TrainConfig)[flag])
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ConfigError(f"--{flag} must be true or false, got {text!r}")
        return _BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError:
        name = "a whole number" if kind is int else "a number"
        raise ConfigError(f"--{flag} must be {name}, got {text!r}") from None


def _kind(hint: Any) -> type:
    """``int | None`` -> int."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _cell(settings: dict[str, Any], several: list[str], plugin: tuple[str, ...]) -> Cell:
    axes = tuple((flag, settings[flag]) for flag in several)
    try:
        return Cell(axes, TrainConfig(**settings, plugin=plugin))
    except ConfigError as error:
        raise of_cell(axes, error) from None


def of_cell(axes: tuple[tuple[str, Any], ...], error: Exception) -> ConfigError:
    """The error with the cell that it comes from, where there are several."""
    name = ", ".join(f"{flag}={value}" for flag, value in axes)
    return ConfigError(f"cell {name}: {error}" if name else str(error))
