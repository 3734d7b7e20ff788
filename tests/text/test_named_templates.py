"""Chat templates by name: what they make of a chat, and who knows them."""

import typing
from pathlib import Path

import pytest

from sgjax.config import CHAT_TEMPLATES
from sgjax.errors import InvalidRequest
from sgjax.text import ChatTemplate
from sgjax.text.named_templates import NAMED
from tests.text.tokenizers_for_tests import byte_level, save_checkpoint

CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "A"},
    {"role": "assistant", "content": "B"},
    {"role": "user", "content": "C"},
]
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
PROMPTS = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>"
    "assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n",
    "gemma-it": "<s><start_of_turn>user\nS\n\nA<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>"
    "\n<start_of_turn>user\nC<end_of_turn>\n<start_of_turn>model\n",
    "llama-2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B </s><s>[INST] C [/INST]",
    "llama-3-instruct": "<s>"
    + "".join(
        HEADER.format(role) + f"{text}<|eot_id|>"
        for role, text in (("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))
    )
    + HEADER.format("assistant"),
    "mistral": "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]A[/INST]B</s>[INST]C[/INST]",
    "vicuna_v1.1": "<s>S USER: A ASSISTANT: B</s>USER: C ASSISTANT:",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path, byte_level(), bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_a_chat_is_written_as_its_models_read_it(name: str, folder: Path) -> None:
    assert ChatTemplate.load(folder, name).render(CHAT) == PROMPTS[name]


def test_every_name_is_known_to_the_options_and_renders(folder: Path) -> None:
    assert set(NAMED) == set(CHAT_TEMPLATES)
    for name in NAMED:
        template = ChatTemplate.load(folder, name)
        assert template.stops == NAMED[name].stops
        for chat in (CHAT, CHAT[1:]):
            assert "C" in template.render(chat)
        open_end = template.render(CHAT[:3], continue_final_message=True)
        assert open_end.endswith("B")


def test_a_default_system_message_stands_where_there_is_none(folder: Path) -> None:
    prompt = ChatTemplate.load(folder, "chatml").render(CHAT[1:2])
    assert prompt.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert ChatTemplate.load(folder, "vicuna_v1.1").render(CHAT[1:2]).startswith("<s>A chat betw")


@pytest.mark.parametrize("name", sorted(NAMED))
def test_calls_of_tools_are_refused_rather_than_left_out(name: str, folder: Path) -> None:
    call: typing.Any = {"function": {"name": "f", "arguments": "{}"}}
    for late in ({"role": "tool", "content": "1"}, {"role": "assistant", "tool_calls": [call]}):
        with pytest.raises(InvalidRequest, match="tools"):
            ChatTemplate.load(folder, name).render([*CHAT, late])
