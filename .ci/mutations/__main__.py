"""Change the code at random, one place at a time, and see which changes the tests notice.

    python .ci/mutations --count=120 --seed=0

Asked are tests that ran the line, then others that ran its file, the most particular ones first;
with ``--again``, of what they let pass, the whole files of tests that ran the line, the slow tests
too. What has its verdict is not tried again, and a test that fails without a change refuses all.
Where the time ran out, somebody has to judge whether a test hung or was only slow.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ledger import Ledger, Row
from places import Mutation, draw
from trial import ask, copy_of, replaced
from witnesses import Witnesses, by_file

_ROOT = Path(__file__).resolve().parents[2]
_COMPILED = _ROOT / ".cache" / "jax"
_SLOW_TOO = ("-m", "")


def main() -> None:
    """Draw, try what has no verdict, and show what came of it."""
    options = _options()
    drawn, ledger = draw(_ROOT, options.count, options.seed), Ledger(options.out)
    drawn = [mutation for mutation in drawn if mutation.file.startswith(options.under)]
    witnesses = Witnesses(_ROOT, options.record)
    tests = {each: by_file(witnesses.of(each)[: options.tests]) for each in drawn}
    with copy_of(_ROOT) as tree:
        _require_sound(tree, {asked[0] for asked in tests.values() if asked})
        for mutation, asked in tests.items():
            word = ledger.of(_row(mutation)).word
            if word in ("", "unclear"):
                ledger.add(_tried(tree, mutation, asked, options.limit))
            elif options.again and word == "survived":
                files = witnesses.files(mutation)
                ledger.add(_tried(tree, mutation, files, options.limit * len(files), *_SLOW_TOO))
        rows = [ledger.of(_row(mutation)) for mutation in drawn]
        _require_sound(tree, {row.by for row in rows if row.word == "noticed"})
    _show(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutations", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=120, help="how many changes")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--under", default="deqzoo/", help="those of this folder or file alone")
    parser.add_argument("--again", action="store_true", help="of survivors, ask whole files")
    parser.add_argument("--tests", type=int, default=32, help="how many are asked at first")
    parser.add_argument("--limit", type=float, default=600, help="seconds for them, or a file")
    parser.add_argument("--record", type=Path, default=_ROOT / ".coverage", help="of pytest-cov")
    parser.add_argument("--out", type=Path, default=_ROOT / ".cache" / "mutations.jsonl")
    options = parser.parse_args()
    if not options.record.exists():
        parser.error(
            f"{options.record} is missing: python -m pytest --cov=deqzoo --cov-context=test"
        )
    return options


def _row(mutation: Mutation) -> Row:
    source = (_ROOT / mutation.file).read_text()
    lines = source.splitlines(), mutation.of(source).splitlines()
    marked = [line for line in difflib.ndiff(*lines) if line[0] in "-+"]
    change = "\n".join(f"{line[0]} {line[1:].strip()}" for line in marked)
    return Row(mutation.file, mutation.line, change)


def _tried(tree: Path, mutation: Mutation, tests: Sequence[str], limit: float, *flags: str) -> Row:
    path, began = tree / mutation.file, time.monotonic()
    with replaced(path, mutation.of(path.read_text())):
        verdict = ask(tree, _COMPILED, tests, limit, *flags)
    row = dataclasses.replace(
        _row(mutation), **verdict._asdict(), seconds=round(time.monotonic() - began)
    )
    print(f"{row.file}:{row.line} {row.word} {row.by} ({row.seconds} s)", flush=True)
    return row


def _require_sound(tree: Path, tests: Iterable[str]) -> None:
    verdict = ask(tree, _COMPILED, by_file(sorted(tests)), 3600, *_SLOW_TOO)
    if verdict.word != "survived":
        sys.exit(f"without a change: {verdict.word} {verdict.by}")


def _show(rows: Sequence[Row]) -> None:
    for row in rows:
        print(f"\n{row.file}:{row.line} {row.word} {row.by}\n{row.change}")
    print(f"\n{dict(Counter(row.word for row in rows))}")


if __name__ == "__main__":
    main()
