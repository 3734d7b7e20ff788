"""ReAct: the model thinks, chooses a tool and writes its argument; the program calls it and writes
down what it says, until the model wants to answer.

`select` chooses the tool, a regex binds the argument: there is nothing to parse and to repair.
"""

import operator

import sgjax as sgl

CAPITALS = {"Kenya": "Nairobi", "Japan": "Tokyo", "France": "Paris"}
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def calculator(sum_):
    left, sign, right = sum_.split()
    return str(OPERATORS[sign](int(left), int(right)))


def atlas(country):
    return f"The capital of {country} is {CAPITALS[country]}."


METHOD = sgl.unconditional_likelihood_normalized
"""Some tools have likelier names than others; what counts is what the question makes of them."""
TOOLS = {
    "calculator": (calculator, r"\d{1,3} [-+*] \d{1,3}"),
    "atlas": (atlas, "|".join(CAPITALS)),
}


@sgl.function
def react(s, question, max_steps):
    s += sgl.system(
        "You answer questions with the help of tools. The calculator works out a sum, such as "
        "2 + 3. The atlas knows the capital of a country, such as Kenya."
    )
    s += sgl.user(question)
    for step in range(max_steps):
        thought, action, argument = f"thought {step}", f"action {step}", f"argument {step}"
        with s.assistant():
            s += sgl.gen(thought, max_tokens=24, stop="\n") + "\n"
            s += "Action: " + sgl.select(action, [*TOOLS, "answer"], choices_method=METHOD)
            if s[action] == "answer":  # this waits: what follows hangs on it
                break
            tool, form = TOOLS[s[action]]
            s += " " + sgl.gen(argument, regex=form, max_tokens=16)
        s += sgl.user(f"Observation: {tool(s[argument])}\n{question}")
    s += sgl.assistant(sgl.gen("answer", max_tokens=32))


def main(backend):
    question = "What is the capital of Kenya?"
    state = react.run(question, max_steps=3, temperature=0, backend=backend)
    return state.messages(), state["answer"]


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        messages, _ = main(engine)
        for message in messages:
            print(f"{message['role']}: {message['content']}")
