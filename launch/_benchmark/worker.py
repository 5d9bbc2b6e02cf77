"""A process that runs one peer: JSON requests on standard input, one line each, and answers.

``python -m launch._benchmark.worker <peer> <recipe>...``; only ``client`` starts it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

_STARTED = time.perf_counter()


def main() -> None:
    """Answer requests until standard input ends."""
    # Whatever a package prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        desk = _open(sys.argv[1], tuple(sys.argv[2:]))
    except Exception as error:
        answers.write(json.dumps(_failure(error)) + "\n")
        return
    answers.write(json.dumps({"import_seconds": time.perf_counter() - _STARTED}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(_answer(desk, json.loads(line))) + "\n")


def _open(name: str, recipes: tuple[str, ...]) -> Any:
    from launch._benchmark import desk, peers_catalog

    return desk.Desk(peers_catalog.PEERS.load(name)(recipes))


def _answer(desk: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return getattr(desk, request.pop("do"))(**request)
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> dict[str, Any]:
    lines = str(error).strip().splitlines() or [""]
    # An error from inside a compiled program begins with a traceback; the message comes later.
    named = [line for line in lines[1:] if "Error: " in line] if "Traceback" in lines[0] else []
    line, kind = (named or lines[:1])[-1].strip(), type(error).__name__
    return {"error": line if named or kind == "SkipPeer" else f"{kind}: {line}"[:160]}


if __name__ == "__main__":
    main()
