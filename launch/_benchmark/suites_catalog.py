"""The suites by name."""

from __future__ import annotations

from deqzoo.catalog import Catalog

SUITES = Catalog("suite", "suites", "launch._benchmark.suites", "launch._benchmark.suite:Suite")
