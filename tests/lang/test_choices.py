"""`select`: what is asked, and how the three methods choose. The figures are worked out by hand."""

import pytest

import sgjax as sgl

pytestmark = pytest.mark.timeout(10)

# Means: -1.5, -1.25, -1.2. First tokens: "cat" and "dog" are equally likely, "eel" is less so.
SCORES = {
    "cat": [-0.5, -2.5],
    "dog": [-0.5, -2.0],
    "eel": [-1.0, -1.0, -1.6],
    # By themselves. Nothing predicts a first token, which counts 0.
    "?cat": [None, -6.5],
    "?dog": [None, -2.0],
    "?eel": [None, -2.0, -2.0],
}
CHOICES = ["cat", "dog", "eel"]


@sgl.function
def pick(s, expression):
    s += "A "
    s += expression


def test_the_likeliest_in_the_mean_is_the_default(fake):
    backend = fake(scores=SCORES)
    state = pick.run(sgl.select("pet", CHOICES), backend=backend)
    assert state["pet"] == "eel" and state.text() == "A eel"
    seen = backend.seen[-1]
    assert (seen.kind, seen.text, seen.choices) == ("select", "A ", ("cat", "dog", "eel"))
    meta = state.get_meta_info("pet")
    assert meta["normalized_prompt_logprobs"] == pytest.approx([-1.5, -1.25, -1.2])
    assert meta["input_token_logprobs"][0] == [(-0.5, 0, None), (-2.5, 1, None)]
    assert meta["output_token_logprobs"] == [[], [], []]


def test_greedy_takes_the_likeliest_token_by_token(fake):
    expression = sgl.select("pet", CHOICES, choices_method=sgl.greedy_token_selection)
    state = pick.run(expression, backend=fake(scores=SCORES))
    # Column 1 leaves cat and dog; column 2 leaves dog.
    assert state["pet"] == "dog"
    matrix = state.get_meta_info("pet")["greedy_logprob_matrix"]
    assert matrix == [[-0.5, -2.5, -1.5], [-0.5, -2.0, -1.25], [-1.0, -1.0, -1.6]]


def test_greedy_goes_on_with_its_mean_where_a_choice_has_ended(fake):
    # "a": -1, then its mean -1; "ab": -1, then -1.5; so "a" it is. With -0.5 "ab" wins.
    for second, winner in ((-1.5, "a"), (-0.5, "ab")):
        backend = fake(scores={"a": [-1.0], "ab": [-1.0, second]})
        expression = sgl.gen("x", choices=["ab", "a"], choices_method=sgl.greedy_token_selection)
        assert pick.run(expression, backend=backend)["x"] == winner


def test_unconditional_takes_what_the_prompt_makes_likelier(fake):
    method = sgl.unconditional_likelihood_normalized
    state = pick.run(sgl.select("pet", CHOICES, choices_method=method), backend=fake(scores=SCORES))
    # cat: (-0.5 - 0 + -2.5 + 6.5) / 2 = 1.75; dog: (-0.5 + 0) / 2; eel: (-1 + 1 + 0.4) / 3.
    assert state["pet"] == "cat"
    gains = state.get_meta_info("pet")["normalized_unconditional_prompt_logprobs"]
    assert gains == pytest.approx([1.75, -0.25, 0.4 / 3])


def test_a_gen_of_choices_is_a_select(fake):
    backend = fake(scores=SCORES)
    assert pick.run(sgl.gen("pet", choices=CHOICES), backend=backend)["pet"] == "eel"
    assert backend.kinds == ["select"]


def test_equally_likely_choices_go_to_the_first(fake):
    assert pick.run(sgl.select("x", ["b", "a"]), backend=fake())["x"] == "b"


def test_a_method_may_be_one_s_own(fake):
    def shortest(*, choices, **scores):
        return type(sgl.token_length_normalized(choices=choices, **scores))(min(choices, key=len))

    backend = fake()
    assert (
        pick.run(sgl.select("x", ["bb", "a"], choices_method=shortest), backend=backend)["x"] == "a"
    )


def test_what_was_chosen_goes_on_to_the_next_call(fake):
    backend = fake(scores=SCORES)
    pick.run(sgl.select("pet", CHOICES) + "s" + sgl.gen("rest"), backend=backend).sync()
    assert backend.calls[-1].text == "A eels"


def test_an_unnamed_choice_is_appended_all_the_same(fake):
    assert pick.run(sgl.select(choices=["z"]), backend=fake()).text() == "A z"
