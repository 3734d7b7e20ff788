"""Advice on several things at the same time, and then one answer that reads all of it."""

import sgjax as sgl

GOALS = ["sleep better", "stay healthy", "learn a new language"]


@sgl.function
def advise(s):
    s += sgl.system("You give short advice.")
    forks = s.fork(len(GOALS))
    forks += lambda i: sgl.user(f"How can I {GOALS[i]}?")
    forks += sgl.assistant(sgl.gen("advice", max_tokens=48))
    forks.join()  # s["advice"] is a list now
    with s.user():
        for goal, advice in zip(GOALS, s["advice"], strict=True):
            s += f"To {goal}:\n{advice}\n"
        s += "Where should I begin?"
    s += sgl.assistant("To " + sgl.select("first", GOALS) + ".")


def main(backend):
    state = advise.run(temperature=0, backend=backend)
    return state["advice"], state["first"]


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        advice, first = main(engine)
        print(*advice, f"Begin here: {first}", sep="\n\n")
