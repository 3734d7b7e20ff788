"""A judge with several dimensions: one fork looks at each, and a verdict is made of all of them.

The essay stands before the fork, so that it is computed once, however many dimensions there are.
"""

import sgjax as sgl

ESSAY = (
    "Paris is the capital of France. It lies on the Seine. Many people go there to see the Eiffel "
    "Tower and the Louvre, and they come back happy."
)
DIMENSIONS = {
    "clarity": "how clear the sentences are",
    "facts": "whether what it says is true",
    "style": "how well it reads",
}
GRADES = ["poor", "fair", "good"]


@sgl.function
def judge(s, essay):
    s += sgl.system("You judge short essays.")
    s += sgl.user(f"Here is an essay.\n\n{essay}")
    s += sgl.assistant("I have read it.")
    forks = s.fork(len(DIMENSIONS))
    for fork, (name, meaning) in zip(forks, DIMENSIONS.items(), strict=True):
        fork += sgl.user(f"Judge its {name}: {meaning}.")
        fork += sgl.assistant(sgl.gen("reason", max_tokens=32, stop="\n"))
        fork += sgl.user("Give a grade: poor, fair or good.")
        fork += sgl.assistant(sgl.select("grade", GRADES))
    forks.join()  # "reason" and "grade" are lists now
    grades = dict(zip(DIMENSIONS, s["grade"], strict=True))
    told = ", ".join(f"{name}: {grade}" for name, grade in grades.items())
    s += sgl.user(f"The grades are {told}. Is the essay to be printed? Answer in one word.")
    s += sgl.assistant(sgl.select("verdict", ["Yes", "No"]))
    return grades


def main(backend):
    state = judge.run(ESSAY, temperature=0, backend=backend)
    return {"grades": state.ret_value, "reasons": state["reason"], "verdict": state["verdict"]}


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        print(main(engine))
