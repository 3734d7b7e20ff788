"""How long the prompt of a chat is."""

import asyncio

from sgjax.front.generator import LONG_TEXT
from sgjax_server.chat import Chat
from sgjax_server.service import Service


async def num_prompt_tokens(chat: Chat, service: Service) -> int:
    """The tokens that the engine would read. Raises InvalidRequest where the template does."""
    prompt = str((await chat.request()).prompt)
    encode = service.needs_tokenizer().encode
    if len(prompt) < LONG_TEXT:
        return len(encode(prompt, add_special_tokens=False))
    return len(await asyncio.to_thread(encode, prompt, add_special_tokens=False))
