"""Answers from notes: those that fit the question are found, told to the model, and cited.

What is the same for all questions stands first, so that it is computed once.
"""

import re

import sgjax as sgl

NOTES = [
    "Nairobi is the capital of Kenya. It lies 1,795 metres above the sea.",
    "The currency of Kenya is the Kenyan shilling.",
    "Mombasa is Kenya's largest port and its oldest city.",
    "Tokyo is the capital of Japan.",
]
QUESTIONS = ["What is the currency of Kenya?", "What is the capital of Japan?"]


def words(text):
    return set(re.findall(r"\w+", text.lower()))


def nearest(question, count=2):
    """The notes that share most words with the question. A vector index would do the same."""
    wanted = words(question)
    return sorted(NOTES, key=lambda note: len(wanted & words(note)), reverse=True)[:count]


@sgl.function
def answer_from_notes(s, question):
    notes = nearest(question)
    s += sgl.system("Answer from the notes that you are given, and from nothing else.")
    with s.user():
        for number, note in enumerate(notes, 1):
            s += f"[{number}] {note}\n"
        s += question
    s += sgl.assistant(sgl.gen("answer", max_tokens=48))
    s += sgl.user("Which note says so?")
    s += sgl.assistant(sgl.gen("source", regex=rf"\[[1-{len(notes)}]\]", max_tokens=4))
    return notes[int(s["source"][1]) - 1]


def main(backend):
    items = [{"question": question} for question in QUESTIONS]
    states = answer_from_notes.run_batch(items, temperature=0, backend=backend)
    return [(state["answer"], state.ret_value) for state in states]


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        for answer, note in main(engine):
            print(f"{answer} (from: {note})")
