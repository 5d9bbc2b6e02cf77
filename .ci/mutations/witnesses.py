"""Which tests can notice a change: those that ran the line, as coverage recorded them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from coverage import CoverageData
from places import Mutation


class Witnesses:
    """The tests that ran a line or its file, the most particular ones first.

    JAX runs a line when it traces it, for the first test of a file that needs the program: after
    the tests that ran the very line come those that ran others of its file.

    Args:
        root: the checkout.
        record: what ``pytest --cov --cov-context=test`` left there.
    """

    def __init__(self, root: Path, record: Path):
        data = CoverageData(str(record))
        data.read()
        self._lines = {
            Path(file).relative_to(root).as_posix(): data.contexts_by_lineno(file)
            for file in data.measured_files()
        }
        everything = (each for lines in self._lines.values() for each in lines.values())
        self._weight = Counter(test for contexts in everything for test in _tests(contexts))

    def of(self, mutation: Mutation) -> list[str]:
        """Their names, a case of every test before the second of any."""
        of_line, of_file = self._of(mutation)
        return self._in_turn(of_line) + self._in_turn(of_file - of_line)

    def files(self, mutation: Mutation) -> list[str]:
        """The test files that ran the line; of what an import runs, those that ran its file."""
        of_line, of_file = self._of(mutation)
        tests = self._in_turn(of_line or of_file)
        return list(dict.fromkeys(test.partition("::")[0] for test in tests))

    def _of(self, mutation: Mutation) -> tuple[set[str], set[str]]:
        lines = self._lines.get(mutation.file, {})
        line = max((each for each in lines if each <= mutation.line), default=0)
        of_file = {test for contexts in lines.values() for test in _tests(contexts)}
        return _tests(lines.get(line, ())), of_file

    def _in_turn(self, tests: set[str]) -> list[str]:
        seen, places = Counter(), []
        for weight, test in sorted((self._weight[test], test) for test in tests):
            name = test.partition("[")[0]
            places.append((seen[name], weight, test))
            seen[name] += 1
        return [test for *_, test in sorted(places)]


def by_file(tests: Iterable[str]) -> list[str]:
    """The tests of a file together: with the last one its compiled programs are forgotten."""
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(test.partition("::")[0], []).append(test)
    return [test for together in files.values() for test in together]


def _tests(contexts: Iterable[str]) -> set[str]:
    """The tests among contexts, ``<test>|<phase>`` each; that of an import is empty."""
    return {context.rpartition("|")[0] for context in contexts if context}
