"""What a chat template puts around each role's messages, found by rendering a few chats.

Programs of the language build a prompt piece by piece, so they need these texts, which Jinja does
not tell. Not every template has them: some treat a message by what stands before or behind it.
"""

import dataclasses

from sgjax.errors import InvalidRequest
from sgjax.text.chat_template import ChatTemplate
from sgjax.text.tokenizer import Tokenizer

_S, _U1, _A1, _U2, _A2 = "\ue010sys\ue011", *(f"\ue010{i}\ue011" for i in range(4))


@dataclasses.dataclass(frozen=True)
class RoleTexts:
    """Before and behind messages."""

    texts: dict[str, tuple[str, str]]
    """By role."""
    opening: str
    """What stands before a chat that begins without a system message."""


def bos_of(tokenizer: Tokenizer) -> str:
    """The text of the BOS that it puts before any text, or ""."""
    return tokenizer.bos_token or "" if tokenizer.encode("") == [tokenizer.bos_id] else ""


def role_texts(template: ChatTemplate, *, bos: str = "") -> RoleTexts | None:
    """Those of a template; None where it has none that put any chat together.

    `bos`: a text that prompts begin with anyway, so that it is left out here.
    """
    if template.problem is not None:
        return None
    try:
        found = _find(template)
        if found is None or not _holds(template, found):
            return None
    except (InvalidRequest, ValueError):  # it refuses, or shows a message not once
        return None
    texts = dict(found.texts)
    system = texts.get("system")
    if bos and found.opening.startswith(bos):
        found = dataclasses.replace(found, opening=found.opening.removeprefix(bos))
    if system is not None and bos:
        texts["system"] = (system[0].removeprefix(bos), system[1])
    return dataclasses.replace(found, texts=texts)


def _find(template: ChatTemplate) -> RoleTexts | None:
    u1, a1, u2 = _message("user", _U1), _message("assistant", _A1), _message("user", _U2)
    chat = template.render([u1, a1, u2], add_generation_prompt=False)
    before_u1, rest = chat.split(_U1)
    between, rest = rest.split(_A1)
    before_u2, behind_user = rest.split(_U2)
    answered = template.render([u1, a1], add_generation_prompt=False)
    _, behind_assistant = answered.split(_A1)
    asked = template.render([u1, a1, u2], add_generation_prompt=True)
    _, rest = asked.split(_U2)
    before_assistant = rest.removeprefix(behind_user)
    if not (between.startswith(behind_user) and before_u2.startswith(behind_assistant)):
        return None
    before_user = before_u2.removeprefix(behind_assistant)
    if not before_u1.endswith(before_user):
        return None
    texts = {
        "user": (before_user, behind_user),
        "assistant": (before_assistant, behind_assistant),
    }
    if (system := _system(template, before_user)) is not None:
        texts["system"] = system
    return RoleTexts(texts, before_u1.removesuffix(before_user))


def _system(template: ChatTemplate, before_user: str) -> tuple[str, str] | None:
    """None: a system message stands within the user's, or is refused."""
    try:
        chat = template.render(
            [_message("system", _S), _message("user", _U1)], add_generation_prompt=False
        )
        before, rest = chat.split(_S)
        between = rest.split(_U1)[0]
    except (InvalidRequest, ValueError):
        return None
    return (before, between.removesuffix(before_user)) if between.endswith(before_user) else None


def _holds(template: ChatTemplate, found: RoleTexts) -> bool:
    """Whether a chat that is put together is the one that the template renders."""
    chats = [[("user", _U1), ("assistant", _A1), ("user", _U2), ("assistant", _A2), ("user", _S)]]
    if "system" in found.texts:
        chats.append([("system", _S), *chats[0][:3]])
    for chat in chats:
        made = "" if chat[0][0] == "system" else found.opening
        made += "".join(text.join(found.texts[role]) for role, text in chat)
        messages = [_message(role, text) for role, text in chat]
        if made != template.render(messages, add_generation_prompt=False):
            return False
    return True


def _message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
