"""How the served model writes thoughts and calls of tools."""

import dataclasses

from sgjax.config import ServeConfig
from sgjax.constrained import grammar_of
from sgjax.constrained.json_schema import ANY_OBJECT
from sgjax.constrained.lark import delimited
from sgjax.constraint_fields import CONSTRAINTS
from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams
from sgjax.text import ChatTemplate, Tokenizer
from sgjax_server import reasoning, tools
from sgjax_server.reasoning.format import ReasoningFormat
from sgjax_server.tools.forcing import grammar_of_calls
from sgjax_server.tools.format import ToolFormat
from sgjax_server.tools.lark import Lark, any_of
from sgjax_server.tools.tool import ToolChoice


@dataclasses.dataclass(frozen=True)
class ModelFormats:
    """The formats that were chosen, or are seen in the chat template."""

    tools: ToolFormat | None
    reasoning: ReasoningFormat | None
    lark: Lark
    """For grammars by the model's tokenizer."""

    def needs_tools(self) -> ToolFormat:
        """The format of calls. Raises InvalidRequest where there is none."""
        if self.tools is None:
            names = ", ".join(tools.FORMATS)
            raise InvalidRequest(
                "The server does not know how this model writes calls of tools: its chat template "
                f"does not show it. Serve with --tool-call-parser, one of {names}.",
                param="tools",
            )
        return self.tools

    @property
    def reads_thoughts_in_grammars(self) -> bool:
        """Whether grammars of calls have a place for thoughts."""
        return self.tools is not None and self.tools.form(self.lark.tokens).before is not None

    def bind(self, params: SamplingParams, choice: ToolChoice) -> SamplingParams:
        """The parameters with a grammar for calls as they are wanted. A constraint that is there
        already holds for an answer instead of calls. This may take long.

        Raises:
            InvalidRequest: a tool's schema or the constraint cannot be brought into a grammar.
        """
        form = self.needs_tools().form(self.lark.tokens)
        answer = None if choice.is_forced else _answer(params, self.lark)
        grammar = grammar_of_calls(choice, form, self.lark.fresh(), answer)
        return dataclasses.replace(params, **(dict.fromkeys(CONSTRAINTS) | {"ebnf": grammar}))


def _answer(params: SamplingParams, lark: Lark) -> str | None:
    """What binds the output, as a piece of Lark."""
    if not params.is_constrained:
        return None
    grammar_of(params)  # names the field that is at fault
    if params.json_schema is not None:
        is_any = params.json_schema == ANY_OBJECT
        return '%json {"type": "object"}' if is_any else f"%json {params.json_schema}"
    if params.choice is not None:
        return any_of([lark.text(text) for text in params.choice])
    if params.regex is not None:
        return delimited(params.regex)
    raise InvalidRequest(
        "Tools that may be called go together with a JSON schema, a regex or a choice, but not "
        "with a grammar or structural tag of your own. Leave one of them out, or set tool_choice "
        "to 'none' or 'required'.",
        param="tools",
    )


def formats_of(
    config: ServeConfig, template: ChatTemplate | None, tokenizer: Tokenizer | None
) -> ModelFormats:
    """The formats that the options name; of calls, else what the template shows."""
    chosen = config.tool_call_parser
    found = tools.FORMATS[chosen] if chosen else template and tools.guess_format(template.source)
    thinks = config.reasoning_parser or (found.reasoning if found else None)
    added = tokenizer.added_tokens if tokenizer else {}
    special = frozenset(
        number for number in added.values() if tokenizer and tokenizer.is_special(number)
    )
    reads = reasoning.FORMATS[thinks] if thinks else None
    return ModelFormats(found, reads, Lark(added, special))
