"""The text files of the model that a config names."""

from sgjax.config import ServeConfig
from sgjax.text import ChatTemplate, Tokenizer, load_tokenizer
from sgjax.weights.hub import tokenizer_folder


def tokenizer_of(config: ServeConfig) -> Tokenizer | None:
    """Its tokenizer; None with skip_tokenizer_init. Raises ConfigError if it cannot be read."""
    if config.skip_tokenizer_init:
        return None
    return load_tokenizer(tokenizer_folder(config), mode=config.tokenizer_mode)


def chat_template_of(config: ServeConfig) -> ChatTemplate | None:
    """Its chat template, which comes with the tokenizer; None where there is none of these."""
    if config.skip_tokenizer_init:
        return None
    return ChatTemplate.load(tokenizer_folder(config), config.chat_template)
