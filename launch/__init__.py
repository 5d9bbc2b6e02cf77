"""Commands: ``python -m launch.<name>``, or ``deqzoo <name>``."""

import signal
import sys

from launch import _leaving

# As long as Python looks for the command, which it is about to run; its imports take seconds.
if sys.argv[:1] == ["-m"]:
    _leaving.leave_on([signal.SIGINT], _leaving.Leave())
