"""Structural tags: text in which tags bind what stands between their begin and end.

Two forms are read: SGLang's and OpenAI's `{"structures": [...], "triggers": [...]}`, and xgrammar's
`{"type": "structural_tag", "format": {...}}`, see https://xgrammar.mlc.ai/docs/.
"""

from collections.abc import Mapping

from sgjax.constrained.json_options import JsonWhitespace
from sgjax.constrained.part import Part, read_json
from sgjax.constrained.tag_formats import TagFormats


def structural_tag_grammar(
    text: str, whitespace: JsonWhitespace, special_tokens: Mapping[str, int]
) -> str:
    """The grammar of the field `structural_tag`.

    Args:
        special_tokens: ids of the tokenizer's tokens that are no text to llguidance.

    Raises:
        InvalidRequest: it is malformed, or of a format that is not supported; it says which part.
    """
    from llguidance import LLMatcher

    part = Part("structural_tag")
    value = read_json(part, text)
    if not isinstance(value, dict):
        raise part.refuse("this must be an object.")
    formats = TagFormats(whitespace, special_tokens)
    if "format" in value:
        start = formats.write(part / "format", value["format"], is_last=True)
    elif "structures" in value:
        start = formats.write_structures(part, value)
    else:
        raise part.refuse("this must have 'structures' and 'triggers', or 'format'.")
    grammar = LLMatcher.grammar_from_lark(formats.lark(start))
    if fault := LLMatcher.validate_grammar(grammar):
        raise part.refuse(f"this cannot be held by a grammar: {' '.join(fault.split())[:300]}.")
    return grammar
