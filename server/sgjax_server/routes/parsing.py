"""/parse_function_call and /separate_reasoning: a text of a model, read as chats read it."""

from typing import Annotated, get_args

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from sgjax.config import ReasoningParser, ToolCallParser
from sgjax.engine.request import FinishReason
from sgjax.errors import InvalidRequest
from sgjax.front.piece import Piece
from sgjax_server import reasoning, tools
from sgjax_server.answers.form import READS_JSON
from sgjax_server.answers.native import ParsedCalls, SeparatedReasoning
from sgjax_server.body import StrictRoute
from sgjax_server.chat_events import ChatMessage
from sgjax_server.chat_reader import ChatReader
from sgjax_server.errors import Json
from sgjax_server.protocol import MAX_TOOLS, Body
from sgjax_server.service import ServiceOf
from sgjax_server.tools.body import ToolDefinition
from sgjax_server.tools.scanner import PartReader
from sgjax_server.tools.tool import read_tools

router = APIRouter(route_class=StrictRoute)


class ParseBody(Body):
    """POST /parse_function_call."""

    text: str
    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)]
    tool_call_parser: ToolCallParser | None = None
    """By default the server's."""


class SeparateBody(Body):
    """POST /separate_reasoning."""

    text: str
    reasoning_parser: ReasoningParser | None = None
    """By default the server's."""


@router.post("/parse_function_call", response_model=ParsedCalls, responses=READS_JSON)
async def parse_function_call(body: ParseBody, service: ServiceOf) -> Response:
    """The calls in a text, and what stands around them."""
    service.check_extras(body)
    name = body.tool_call_parser
    found = tools.FORMATS[name] if name else service.formats.needs_tools()
    known = read_tools(body.tools)
    thoughts = None
    if found.reasoning:
        thinking = reasoning.FORMATS[found.reasoning]
        thoughts = PartReader(lambda source: thinking.read(source, "unknown"))
    calls = PartReader(lambda source: found.read(source, known))
    message = _read(ChatReader(thoughts, calls, new_id=found.new_id), body.text)
    places = {name: index for index, name in enumerate(known)}
    return Json(
        {
            "normal_text": message.content,
            "calls": [
                {
                    "tool_index": places.get(call.name, -1),
                    "name": call.name,
                    "parameters": call.arguments,
                }
                for call in message.calls
            ],
        }
    )


@router.post("/separate_reasoning", response_model=SeparatedReasoning, responses=READS_JSON)
async def separate_reasoning(body: SeparateBody, service: ServiceOf) -> Response:
    """What is thought in a text, and what is said."""
    service.check_extras(body)
    name = body.reasoning_parser
    thinking = reasoning.FORMATS[name] if name else service.formats.reasoning
    if thinking is None:
        raise InvalidRequest(
            "The server was started without --reasoning-parser, so the body must name one: "
            f"{', '.join(get_args(ReasoningParser))}.",
            param="reasoning_parser",
        )
    thoughts = PartReader(lambda source: thinking.read(source, "unknown"))
    message = _read(ChatReader(thoughts), body.text)
    return Json({"reasoning_text": message.reasoning, "text": message.content})


def _read(reader: ChatReader, text: str) -> ChatMessage:
    message = ChatMessage()
    for event in reader.read(Piece(text, [], FinishReason("stop"))):
        message.add(event)
    return message
