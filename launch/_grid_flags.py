"""The flags of a training run, each of which may name several values: ``--width=256,1024``."""

from __future__ import annotations

import sys
import typing

from absl import flags

from deqzoo.sweeps import grid
from deqzoo.training import TrainConfig


def define() -> None:
    """A flag of text for every setting that may be an axis; ``--help`` shows what it is alone."""
    hints = typing.get_type_hints(TrainConfig)
    for option in grid.flags():
        default = "" if option.default is None else f" Default: {option.default}."
        flag = flags.Flag(
            flags.ArgumentParser(),
            None,
            option.name,
            None,
            option.metadata["help"] + default,
            boolean=hints[option.name] is bool,  # --certify and --nocertify stay what they are
        )
        flags.DEFINE_flag(flag)
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def read() -> dict[str, str]:
    """Flag -> text of those that were given, in the order of the settings."""
    given = {option.name: flags.FLAGS[option.name] for option in grid.flags()}
    return {name: str(flag.value) for name, flag in given.items() if flag.present}
