"""What SamplingParams bind the output to, as the text of an llguidance grammar."""

import json
from typing import Literal

from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams

JsonWhitespace = Literal["compact", "flexible"]
"""Whether JSON may have spaces and line ends between its parts; if not, more of it is forced."""

ANY_OBJECT = "$$ANY$$"
"""SGLang's word for the schema of any JSON object."""


def grammar_of(
    params: SamplingParams, *, json_whitespace: JsonWhitespace = "compact"
) -> str | None:
    """The grammar that the output must match, or None if nothing binds it.

    Raises:
        InvalidRequest: the constraint is malformed, too large, or cannot be met.
    """
    import llguidance

    if params.json_schema is not None:
        text = '{"type": "object"}' if params.json_schema == ANY_OBJECT else params.json_schema
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            text, defaults={"whitespace_flexible": json_whitespace == "flexible"}
        )
    elif params.regex is not None:
        grammar = llguidance.LLMatcher.grammar_from_regex(params.regex)
    elif params.ebnf is not None:
        grammar = llguidance.grammar_from("ebnf", params.ebnf)
    elif params.choice is not None:
        grammar = llguidance.grammar_from("choice", json.dumps(params.choice))
    elif params.structural_tag is not None:
        raise InvalidRequest("structural_tag is not supported yet.", param="structural_tag")
    else:
        return None
    if message := llguidance.LLMatcher.validate_grammar(grammar):
        raise InvalidRequest(message)
    return grammar
