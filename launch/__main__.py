"""``deqzoo <command> ...`` and ``python -m launch <command> ...``."""

from __future__ import annotations

import signal
import sys

from launch import _leaving


def main() -> None:
    """Run the command named by the first argument with the rest of the line."""
    _leaving.leave_on([signal.SIGINT], _leaving.Leave())
    from deqzoo.catalog import CatalogError, commands  # takes seconds

    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(f"usage: deqzoo <command> [--flags]; commands: {', '.join(commands.names())}")
        sys.exit(0 if sys.argv[1:] in ([], ["--help"]) else 2)
    try:
        command = commands.load(sys.argv.pop(1))
    except CatalogError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
