"""The names of the trained members."""

from __future__ import annotations

from deqzoo.storage import shelf


def list_pretrained() -> tuple[str, ...]:
    """Names for ``load``: model, task and activation.

    Example:
        >>> import deqzoo
        >>> "classifier-digits-tanh" in deqzoo.list_pretrained()
        True
    """
    return shelf.names()
