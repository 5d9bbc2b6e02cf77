"""What every command shares: flags from a dataclass, clear errors, exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from deqzoo.storage import unfinished
from deqzoo.training.devices import preemption
from launch import _compilation_cache, _leaving
from launch._outlet import Outlet

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
DONE, FAILED, USAGE, PREEMPTED = 0, 1, 2, _leaving.PREEMPTED


class UsageError(ValueError):
    """A command line that cannot be used."""


def define_flags(config: type) -> None:
    """One flag per field of a dataclass; its help is the field's ``metadata["help"]``."""
    hints = typing.get_type_hints(config)
    for option in dataclasses.fields(config):
        text = option.metadata["help"]
        kind = _plain_type(hints[option.name])
        define = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
            tuple: flags.DEFINE_multi_string,
        }[kind]
        value: Any = option.default
        default = list(value) if kind is tuple else value
        define(option.name, default, text)
        flags.FLAGS.register_key_flag_for_module(
            sys.argv[0], flags.FLAGS[option.name]
        )  # shown by --help


def read_flags(config: type, recorded: Mapping[str, Any] | None = None) -> Any:
    """The dataclass filled from the flags that were given, then from ``recorded`` values."""
    given = {option.name: flags.FLAGS[option.name] for option in dataclasses.fields(config)}
    values = {name: flag.value for name, flag in given.items() if flag.present}
    lists_as_tuples = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return config(**{**(recorded or {}), **lists_as_tuples})


def start(
    main: Callable[..., int],
    *configs: type,
    usage: str,
    errors: Sequence[type[Exception]] = (),
    recorded: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Parse the command line, run ``main(*configs)`` and leave with its exit code.

    Args:
        main: the command; returns an exit code.
        *configs: the dataclasses of its flags.
        usage: what the command does, for ``--help``.
        errors: exceptions that mean a failed run (exit code 1) rather than wrong usage (2).
        recorded: asked after parsing for values of the first dataclass that no flag gives.
    """
    for config in configs:
        define_flags(config)
    sys.modules["__main__"].__doc__ = usage
    sys.unraisablehook = _without_echoes
    leave_on_signals(_leaving.NOTHING_LOST)
    if sys.stdout is not None:
        sys.stdout = typing.cast(typing.TextIO, Outlet(sys.stdout))

    def run(arguments: Sequence[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.FATAL)  # what a user can act on we say ourselves
        try:
            if len(arguments) > 1:
                raise UsageError(
                    f"unexpected argument {arguments[1]!r}: settings are flags, for example "
                    "--activation=gelu"
                )
            first, *others = configs
            settings = [read_flags(first, recorded()), *map(read_flags, others)]
            _compilation_cache.keep()
            return main(*settings)
        except tuple(errors) as error:
            return _complain(error, FAILED)
        except OSError as error:
            if error.filename is None and error.errno not in _NO_ROOM:
                raise
            return _complain(_of_disk(error), FAILED)
        except Exception as error:
            if not _is_ours(error):
                raise
            return _complain(error, USAGE)

    app.run(run, flags_parser=_parse)


def leave_on_signals(message: str) -> None:
    """A signal that asks to end says ``message`` and ends the process at once.

    Files that are not whole and processes of its own go with it. The exit code is 130 after Ctrl-C
    and 75 after other signals.
    """
    leave = _leaving.Leave(message, unfinished.undo_all)
    _leaving.leave_on(preemption.asking_to_end(), leave)


def option(default: Any, text: str) -> Any:
    """A field of a dataclass of flags: its default and its help."""
    return dataclasses.field(default=default, metadata={"help": text})


def make_folder(folder: Path, flag: str) -> None:
    """Create a folder of results.

    Raises:
        UsageError: it cannot be written to; the message names ``flag``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"cannot use {folder} as {flag}: {error.strerror}") from None


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(arguments))
    except flags.Error as error:
        sys.exit(_complain(error, USAGE))
    except SystemExit:  # absl leaves --help with 1
        sys.exit(DONE)


def _without_echoes(raised: Any) -> None:
    """What nobody could catch, but not that of threads that write on when one of them has failed.

    TensorStore has them; the one that failed is told of.
    """
    if str(raised.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(raised)


def _complain(error: Exception | str, code: int) -> int:
    with contextlib.suppress(OSError):  # the disk of the log may be what is full
        print(f"error: {error}", file=sys.stderr, flush=True)
    return code


def _of_disk(error: OSError) -> str:
    place = "" if error.filename is None else f" {error.filename}"
    if error.errno in _NO_ROOM:
        return (
            f"cannot write{place} ({error.strerror}): once there is room, the same command goes on "
            "from what is on disk"
        )
    return f"cannot use{place} ({error.strerror}): correct the path, or what lies there"


def _is_ours(error: Exception) -> bool:
    """Our own errors carry a message for users; any other is a defect and keeps its traceback."""
    return type(error).__module__.split(".")[0] in ("deqzoo", "launch", "activations")


def _plain_type(hint: Any) -> type:
    """``int | None`` -> int, ``tuple[str, ...]`` -> tuple."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return typing.get_origin(hint) or hint
