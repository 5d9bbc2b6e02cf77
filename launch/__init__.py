"""Commands: ``python -m launch.<name>``, or ``deqzoo <name>``."""
