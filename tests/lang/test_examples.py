"""The examples of the language's pages run on the built-in model; what they give has its form."""

import importlib
import runpy
from pathlib import Path

import pytest

from docs.language.examples import (
    choices,
    json_extraction,
    judge,
    multi_turn,
    parallel_tips,
    rag,
    react_with_tools,
    streaming,
    tree_of_thought,
)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "language"
NAMES = sorted(path.stem for path in (FOLDER / "examples").glob("*.py"))


def test_a_conversation_has_an_answer_to_each_question(demo_engine):
    messages = multi_turn.main(demo_engine)
    roles = [message["role"] for message in messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert "Paris" in messages[2]["content"]
    assert "Eiffel Tower" in messages[4]["content"]


def test_sentences_become_records(demo_engine):
    found = json_extraction.main(demo_engine)
    assert [country.name for country in found] == ["Kenya", "Japan", "France"]
    assert [country.continent for country in found] == ["Africa", "Asia", "Europe"]


def test_a_tree_has_all_leaves_and_its_best_is_one_of_them(demo_engine):
    best, leaves = tree_of_thought.main(demo_engine)
    assert len(leaves) == 9 and best in leaves
    assert best.grade == max(leaf.grade for leaf in leaves)
    beginnings = [leaf.story.split(".")[0] for leaf in leaves]
    assert all(text.startswith("Once upon a time") for text in beginnings)
    assert [beginnings[i] == beginnings[i - 1] for i in (1, 2, 4, 5, 7, 8)] == [True] * 6


def test_a_judge_says_something_of_each_dimension(demo_engine):
    judged = judge.main(demo_engine)
    assert judged["grades"].keys() == judge.DIMENSIONS.keys()
    assert set(judged["grades"].values()) <= set(judge.GRADES)
    assert len(judged["reasons"]) == len(judge.DIMENSIONS) and all(judged["reasons"])
    assert judged["verdict"] in ("Yes", "No")


def test_what_tools_say_stands_behind_what_they_were_asked(demo_engine):
    messages, answer = react_with_tools.main(demo_engine)
    assert messages[-1] == {"role": "assistant", "content": answer}
    steps = messages[2:-1]
    assert steps and len(steps) % 2 == 0
    for asked, said in zip(steps[::2], steps[1::2], strict=True):
        name, _, argument = asked["content"].split("Action: ")[1].partition(" ")
        tool, _form = react_with_tools.TOOLS[name]
        assert said["content"].startswith(f"Observation: {tool(argument)}\n")


def test_answers_come_with_their_notes(demo_engine):
    (currency, first), (capital, second) = rag.main(demo_engine)
    assert "Kenyan shilling" in currency and "Tokyo" in capital
    assert {first, second} <= set(rag.NOTES)


def test_advice_comes_for_each_goal(demo_engine):
    advice, first = parallel_tips.main(demo_engine)
    assert len(advice) == len(set(advice)) == len(parallel_tips.GOALS)
    assert first in parallel_tips.GOALS


def test_streams_come_in_pieces(demo_engine):
    whole, told, counts = streaming.main(demo_engine)
    assert len(told) > 1 and len(whole) > 1
    assert "".join(told) in "".join(whole)
    assert counts == sorted(counts) and counts[-1] == 48


def test_all_methods_choose_among_the_choices(demo_engine):
    found = choices.main(demo_engine)
    assert found.keys() == choices.METHODS.keys()
    assert set(found.values()) <= set(choices.COLOURS)
    assert found["mean of tokens"] == "green"


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_a_script_that_prints_what_it_finds(name, one_engine, capsys):
    runpy.run_path(str(FOLDER / "examples" / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_one_that_a_test_runs_and_a_page_names(name):
    example = importlib.import_module(f"docs.language.examples.{name}")
    assert example in globals().values()
    pages = "".join(path.read_text() for path in FOLDER.glob("*.md"))
    assert f"examples/{name}.py" in pages
