"""Text in front of the engine: tokenizers, detokenizing, stop strings, chat templates.

messages ── ChatTemplate.render ──► prompt ── Tokenizer.encode ──► ids ──► engine
engine ──► ids ── TextStream.feed (Detokenizer, then StopMatcher) ──► text
"""

from sgjax.text.chat_template import ChatTemplate
from sgjax.text.detokenizer import Detokenizer
from sgjax.text.stop import StopMatcher
from sgjax.text.template_stops import with_stops
from sgjax.text.text_stream import TextDelta, TextStream
from sgjax.text.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "ChatTemplate",
    "Detokenizer",
    "StopMatcher",
    "TextDelta",
    "TextStream",
    "Tokenizer",
    "load_tokenizer",
    "with_stops",
]
