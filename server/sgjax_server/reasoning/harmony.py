"""Thoughts in OpenAI's harmony format, which gpt-oss writes: messages in channels.

<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...<|return|>

"analysis" is thought; the answer is what else has no recipient. Calls stay as they are, for the
tool-call parser. https://github.com/openai/harmony
"""

import re
from collections.abc import Callable

from sgjax_server.reasoning.count import State
from sgjax_server.tools.gpt_oss import (
    CALL,
    CHANNEL,
    END,
    MARKERS,
    MESSAGE,
    RECIPIENT,
    RETURN,
    START,
)
from sgjax_server.tools.scanner import (
    Part,
    Reading,
    Source,
    Text,
    Thought,
    collect_until,
    text_until,
)

_CHANNEL = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")


class _Harmony:
    is_needed = True
    markers = MARKERS
    answer_begins = f"{CHANNEL}final{MESSAGE}"

    def state_after(self, prompt: str, said: str = "") -> State:
        """ "open" within an analysis, "closed" within the answer, "unknown" between messages."""
        last = prompt.rpartition(START)[2]
        if MESSAGE not in last or last.endswith(END):
            return "unknown"
        return "open" if _is_thought(last.partition(MESSAGE)[0]) else "closed"

    def opened(self, prompt: str) -> str:
        return prompt

    def count(self, state: State, bytes_of: Callable[[int], bytes]) -> None:
        return None

    def read(self, source: Source, state: State) -> Reading[None]:
        emit: Callable[[str], Part] = Thought if state == "open" else Text
        while tag := (yield from text_until(source, [START, CHANNEL, END, CALL, RETURN], emit)):
            emit = Text
            if tag not in (START, CHANNEL):
                continue
            header, end = yield from collect_until(source, [MESSAGE])
            if end is None:
                return
            if RECIPIENT.search(header) and not _is_thought(tag + header):
                yield Text(f"{tag}{header}{MESSAGE}")
                yield from text_until(source, [CALL, END])
                yield Text(CALL)
            elif _is_thought(tag + header):
                emit = Thought


def _is_thought(header: str) -> bool:
    found = _CHANNEL.search(header)
    return found is not None and found[1] == "analysis"


HARMONY = _Harmony()
