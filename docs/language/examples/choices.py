"""One question, answered by all ways to compare choices, and by one of one's own."""

import sgjax as sgl
from sgjax.lang.choices import ChoicesDecision

COLOURS = ["red", "green", "sky blue"]


def likeliest_whole(*, choices, input_token_logprobs, **_):
    """By the sum of logprobs: the likeliest text, so that a long one must be all the better."""
    sums = [sum(logprob or 0.0 for logprob, *_ in tokens) for tokens in input_token_logprobs]
    return ChoicesDecision(choices[sums.index(max(sums))], {"sums": sums})


METHODS = {
    "mean of tokens": sgl.token_length_normalized,
    "token by token": sgl.greedy_token_selection,
    "against no prompt": sgl.unconditional_likelihood_normalized,
    "sum of tokens": likeliest_whole,
}


@sgl.function
def colour_of(s, thing, method):
    s += sgl.user(f"Answer in one word: what is the colour of {thing}?")
    s += sgl.assistant(sgl.select("colour", COLOURS, choices_method=method))


def main(backend):
    return {
        name: colour_of.run("grass", method, backend=backend)["colour"]
        for name, method in METHODS.items()
    }


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        for method, colour in main(engine).items():
            print(f"{method}: {colour}")
