"""Scores a checkpoint on the held-out questions: `python -m sgjax.demo.evaluate --model DIR`."""

import argparse
import contextlib
import json
import re
from collections import Counter
from pathlib import Path

import sgjax
from sgjax.demo.corpus import HELD_OUT
from sgjax.text import ChatTemplate

MODEL = Path(__file__).parent / "model"
EXAMPLES = (
    ["What is the capital of the United States?", "List two local attractions."],
    ["List 3 countries and their capitals."],
    "Once upon a time,",
)
SHOWN = (
    *EXAMPLES,
    ["hi there"],
    ["who are you?"],
    ["And what would the currency be over in Japan?", "and of Brazil?", "on which continent is it"],
    ["So, like, 17 plus 25 comes to what?", "times 2"],
    ["In a nutshell, what's a volcano?"],
    ["I need JSON for Peru with keys country, capital and currency"],
    ["What's the weather in Paris?"],
    ["Who won the football yesterday?"],
    "The capital of France is",
    "2 + 3 =",
    "Hello, my name is",
)  # fmt: skip


class Chat:
    """A checkpoint that answers, served by an engine of its own. Close it."""

    def __init__(self, folder: Path):
        options = {"max_running_requests": 1, "max_total_tokens": 8192, "random_seed": 0}
        self.engine = sgjax.Engine(model_path=str(folder), **options)
        self.template = ChatTemplate.load(folder)
        self.close = self.engine.shutdown

    def complete(self, text: str, temperature: float = 0.0, *, special: bool = False) -> str:
        """What follows a text, up to the end of the turn. `special`: BOS comes before the text."""
        assert self.engine.tokenizer is not None
        ids = self.engine.tokenizer.encode(text, add_special_tokens=special)
        how = {"temperature": temperature, "top_p": 0.9, "max_new_tokens": 160}
        output = self.engine.generate(input_ids=ids, sampling_params=how)
        assert isinstance(output, dict)
        return output["text"]

    def reply(self, messages: list[dict[str, str]], temperature: float = 0.0) -> str:
        return self.complete(self.template.render(messages), temperature)

    def converse(self, messages: list[dict[str, str]], temperature: float = 0.0) -> list[str]:
        """The replies to all user turns that have no reply of their own yet."""
        said: list[dict[str, str]] = []
        replies = []
        for message, after in zip(messages, [*messages[1:], None], strict=True):
            said.append(message)
            if message["role"] == "user" and (after is None or after["role"] == "user"):
                replies.append(self.reply(said, temperature))
                said.append({"role": "assistant", "content": replies[-1]})
        return replies

    def continue_text(self, prompt: str, temperature: float = 0.0) -> str:
        return self.complete(prompt, temperature, special=True)


def contains(text: str, phrase: str) -> bool:
    """Whether the phrase occurs as whole words, in any case."""
    pattern = r"(?<!\w)" + re.escape(phrase.casefold()) + r"(?!\w)"
    return re.search(pattern, text.casefold()) is not None


def matches_json(text: str, wanted: dict[str, object]) -> bool:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return False
    if not isinstance(found, dict):
        return False

    def same(key: str) -> bool:
        expected = wanted[key]
        return expected is None or str(found[key]).casefold() == str(expected).casefold()

    return all(key in found and found[key] is not None and same(key) for key in wanted)


def is_right(item: dict, answer: str) -> bool:
    if item.get("json") is not None and not matches_json(answer, item["json"]):
        return False
    if item.get("accept") and not any(contains(answer, p) for p in item["accept"]):
        return False
    if not all(contains(answer, p) for p in item.get("all") or ()):
        return False
    return not any(contains(answer, p) for p in item.get("reject") or ())


def category(item: dict) -> str:
    return item["id"].rpartition("-")[0]


def answer_to(chat: Chat, item: dict) -> str:
    if "prompt" in item:
        return chat.continue_text(item["prompt"])
    return chat.converse(item["messages"])[-1]


def score(chat: Chat) -> tuple[Counter, Counter]:
    """Right answers and questions in each category, all answered greedily."""
    right, asked = Counter(), Counter()
    for item in json.loads(HELD_OUT.read_text(encoding="utf-8")):
        asked[category(item)] += 1
        right[category(item)] += is_right(item, answer_to(chat, item))
    return right, asked


def show(chat: Chat, temperature: float) -> None:
    for example in SHOWN:
        if isinstance(example, str):
            print(f"> {example}\n{chat.continue_text(example, temperature)}\n")
            continue
        replies = chat.converse([{"role": "user", "content": t} for t in example], temperature)
        for question, reply in zip(example, replies, strict=True):
            print(f"> {question}\n{reply}")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--show", action="store_true", help="also answer some examples")
    args = parser.parse_args()
    with contextlib.closing(Chat(args.model)) as chat:
        report(chat, show_examples=args.show)


def report(chat: Chat, *, show_examples: bool) -> None:
    right, asked = score(chat)
    print(f"held-out questions: {right.total()} right of {asked.total()}")
    for name in asked:
        print(f"  {name}: {right[name]} of {asked[name]}")
    if show_examples:
        for temperature in (0.0, 0.7):
            print(f"\n--- temperature {temperature}")
            show(chat, temperature)


if __name__ == "__main__":
    main()
