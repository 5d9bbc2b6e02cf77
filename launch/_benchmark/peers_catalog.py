"""The peers by name."""

from __future__ import annotations

import importlib.util

from deqzoo.catalog import Catalog

PEERS = Catalog("peer", "peers", "launch._benchmark.peers", "launch._benchmark.peer:Peer")
_OWN = "hand"  # what we wrote ourselves needs no package


def is_installed(peer: str) -> bool:
    """Whether the package of a peer can be imported."""
    return peer == _OWN or importlib.util.find_spec(peer) is not None
