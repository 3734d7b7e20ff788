"""Programs on OpenAI's API: OpenAI's own, or any server that speaks it, such as sgjax's."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sgjax.errors import ConfigError, InvalidProgram
from sgjax.lang.backends.api import ApiBackend, OwnLoop, import_client
from sgjax.lang.backends.contract import Answer, Backend, Call
from sgjax.lang.backends.openai_chat import ChatModel
from sgjax.lang.backends.openai_completion import CompletionModel
from sgjax.lang.backends.openai_form import TokenUsage
from sgjax.lang.backends.openai_guesses import GuessingChat, GuessingCompletion
from sgjax.lang.chat_template import ChatTemplate, get_chat_template_by_model_path
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod
from sgjax.lang.transcript import Transcript

_OF_OPENAI = ("api.openai.com", ".openai.azure.com")
_COMPLETING = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")


class OpenAI(ApiBackend):
    """A model behind OpenAI's API.

    Whose API it is decides what it takes. OpenAI's own (and Azure's) has no regex, ebnf, top_k,
    min_p, ignore_eos and stop_token_ids, and begins each answer itself. Any other `base_url` is
    taken for a server of sgjax or SGLang: these parameters are sent by their names there, and an
    assistant's message that has begun is gone on with. What a program leaves at its default is not
    sent, but for temperature and top_p.

    A dtype is bound by its regex on such servers. On OpenAI's own a chat model answers a JSON
    object with the value, of which only the value is kept; a completion model is asked as SGLang
    does: up to the value's end.

    select: a chat model chooses by itself, out of a JSON schema's enum, whatever the method. For a
    completion model all choices are scored behind the prompt in one call, with echo and logprobs;
    servers that lack that answer with an error.
    """

    def __init__(
        self,
        model_name: str,
        is_chat_model: bool | None = None,
        chat_template: ChatTemplate | None = None,
        is_azure: bool = False,
        *args: Any,
        **kwargs: Any,
    ):
        """
        Args:
            model_name: the API's.
            is_chat_model: False for the API of completions, which goes on from any text; by
                default, all but OpenAI's three of that kind are models of chats.
            chat_template: the texts around messages, for completion models; by default by name.
            args, kwargs: of openai.AsyncOpenAI (AsyncAzureOpenAI): base_url, api_key,
                max_retries ...

        Raises:
            ConfigError: the package openai is not installed, or there is no key.
        """
        client = import_client("openai")
        make = client.AsyncAzureOpenAI if is_azure else client.AsyncOpenAI
        try:
            self._client = make(*args, **kwargs)
        except client.OpenAIError as error:
            raise ConfigError(f"OpenAI's client does not start: {error}") from error
        if is_chat_model is None:
            is_chat_model = model_name not in _COMPLETING
        is_server = not is_azure and not self._client.base_url.host.endswith(_OF_OPENAI)
        self.api = f"the server at {self._client.base_url}" if is_server else "OpenAI"
        self.model_name = model_name
        self.is_chat_model = is_chat_model
        self._template = chat_template or get_chat_template_by_model_path(model_name)
        self.token_usage = TokenUsage()
        self._own = OwnLoop("sgjax-openai")
        model = ChatModel if is_chat_model else CompletionModel
        self._model: ChatModel | CompletionModel = model(
            self._client, model_name, self.token_usage, is_server=is_server
        )

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"image"} if self.is_chat_model else ())

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        return await self._model.generate(transcript, call)

    def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        return self._model.stream(transcript, call)

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        return await self._model.select(transcript, choices, method)

    def speculating(self, num_tokens: int) -> Backend:
        """See openai_guesses."""
        if isinstance(num_tokens, bool) or not isinstance(num_tokens, int) or num_tokens < 1:
            raise InvalidProgram(
                f"num_api_spec_tokens must be a number from 1 on, not {num_tokens!r}."
            )
        if isinstance(self._model, ChatModel):
            return GuessingChat(self, self._model, num_tokens)
        return GuessingCompletion(self, self._model, num_tokens)

    async def _close(self) -> None:
        await self._client.close()
