"""Outputs bound by a regex, a JSON schema, a grammar, tags or choices. Knows neither JAX nor the
engine."""

from sgjax.constrained.grammar import grammar_of

__all__ = ["grammar_of"]
