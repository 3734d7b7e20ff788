"""Benchmarks: each module prints a table of its own; docs/benchmarks.md keeps their figures."""
