"""How `select` compares choices, by the logprobs of their tokens.

A method of one's own is a callable with the same arguments; if it wants the unconditional logprobs
too, it has an attribute `requires_unconditional_logprobs`.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, Protocol

Triple = tuple[float | None, int, str | None]
"""A token's logprob, its id, its text."""


@dataclasses.dataclass(frozen=True)
class ChoicesDecision:
    """What was chosen, and what is to be told of it."""

    decision: str
    meta_info: dict[str, Any] | None = None


class ChoicesMethod(Protocol):
    """Chooses one of some texts.

    Args:
        choices: the texts.
        normalized_prompt_logprobs: for each, the mean logprob of its tokens (of those that it adds
            to the prompt's, and of the prompt's last where it changes it).
        input_token_logprobs: for each, these tokens.
        output_token_logprobs: empty lists.
        unconditional_token_logprobs: for each, its tokens without the prompt, if they are wanted.
    """

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[Triple]],
        output_token_logprobs: Sequence[Sequence[Triple]],
        unconditional_token_logprobs: Sequence[Sequence[Triple]] | None = None,
    ) -> ChoicesDecision: ...


def wants_unconditional(method: ChoicesMethod) -> bool:
    """Whether a method wants the logprobs of choices without their prompt."""
    return bool(getattr(method, "requires_unconditional_logprobs", False))


class TokenLengthNormalized:
    """The choice whose tokens are likeliest in the mean."""

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[Triple]],
        output_token_logprobs: Sequence[Sequence[Triple]],
        unconditional_token_logprobs: Sequence[Sequence[Triple]] | None = None,
    ) -> ChoicesDecision:
        return ChoicesDecision(
            choices[_best(normalized_prompt_logprobs)],
            _told(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs),
        )


class GreedyTokenSelection:
    """Token by token: of the choices that are left, those whose next token is likeliest. One that
    has ended goes on with its mean, so that an ending is neither good nor bad."""

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[Triple]],
        output_token_logprobs: Sequence[Sequence[Triple]],
        unconditional_token_logprobs: Sequence[Sequence[Triple]] | None = None,
    ) -> ChoicesDecision:
        rows = [[logprob or 0.0 for logprob, *_ in tokens] for tokens in input_token_logprobs]
        longest = max(map(len, rows))
        matrix = [row + [_mean(row)] * (longest - len(row)) for row in rows]
        left = list(range(len(choices)))
        for column in range(longest):
            most = max(matrix[index][column] for index in left)
            left = [index for index in left if matrix[index][column] == most]
        return ChoicesDecision(
            choices[left[0]],
            _told(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
            | {"greedy_logprob_matrix": matrix},
        )


class UnconditionalLikelihoodNormalized:
    """The choice that the prompt makes likelier than it is by itself, in the mean of its tokens."""

    requires_unconditional_logprobs = True

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[Triple]],
        output_token_logprobs: Sequence[Sequence[Triple]],
        unconditional_token_logprobs: Sequence[Sequence[Triple]] | None = None,
    ) -> ChoicesDecision:
        assert unconditional_token_logprobs is not None
        gains = [
            _mean([a - b for a, b in zip(_values(given), _values(alone), strict=False)])
            for given, alone in zip(input_token_logprobs, unconditional_token_logprobs, strict=True)
        ]
        return ChoicesDecision(
            choices[_best(gains)],
            _told(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
            | {
                "unconditional_token_logprobs": list(unconditional_token_logprobs),
                "normalized_unconditional_prompt_logprobs": gains,
            },
        )


token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()


def mean_logprob(tokens: Sequence[Triple]) -> float:
    """Of tokens; nothing predicts the first of all, which does not count."""
    return _mean([logprob for logprob, *_ in tokens if logprob is not None])


def _told(
    normalized: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> dict[str, Any]:
    """The meta_info of all methods."""
    return {
        "normalized_prompt_logprobs": list(normalized),
        "input_token_logprobs": list(inputs),
        "output_token_logprobs": list(outputs),
    }


def _values(tokens: Sequence[Triple]) -> list[float]:
    """The last ones; nothing predicts the first token of all, which counts nothing."""
    return [logprob or 0.0 for logprob, *_ in tokens]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda index: values[index])
