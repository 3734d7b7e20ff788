"""What SamplingParams bind the output to, as the text of an llguidance grammar."""

from collections.abc import Mapping

from sgjax.constrained.ebnf import ebnf_grammar
from sgjax.constrained.json_options import JsonWhitespace
from sgjax.constrained.json_schema import json_schema_grammar
from sgjax.constrained.regex import choice_grammar, regex_grammar
from sgjax.constrained.structural_tag import structural_tag_grammar
from sgjax.sampling_params import SamplingParams

__all__ = ["JsonWhitespace", "grammar_of"]


NO_TOKENS: Mapping[str, int] = {}


def grammar_of(
    params: SamplingParams,
    *,
    json_whitespace: JsonWhitespace = "compact",
    special_tokens: Mapping[str, int] = NO_TOKENS,
) -> str | None:
    """The grammar that the output must match, or None if nothing binds it.

    It takes a millisecond for most, and half a second for the largest schemas: other threads run
    meanwhile, an event loop does not.

    Args:
        special_tokens: ids of the tokens that are no text to llguidance (`special_to_llguidance`):
            tags that begin or end with one are bound to it. Nothing else looks for them.

    Raises:
        InvalidRequest: the constraint is malformed, too large, or cannot be met; `param` is the
            field's name, and the message has the part that is to blame.
    """
    if params.json_schema is not None:
        return json_schema_grammar(params.json_schema, json_whitespace)
    if params.regex is not None:
        return regex_grammar(params.regex)
    if params.choice is not None:
        return choice_grammar(params.choice)
    if params.ebnf is not None:
        return ebnf_grammar(params.ebnf, json_whitespace)
    if params.structural_tag is not None:
        return structural_tag_grammar(params.structural_tag, json_whitespace, special_tokens)
    return None
