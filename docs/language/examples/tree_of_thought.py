"""A tree of thoughts: several beginnings of a story, several ways to go on from each, and the one
with the best grade.

All branches of a level are computed at the same time, and what stands before them only once.
"""

import dataclasses

import sgjax as sgl

GRADES = ["1", "2", "3", "4", "5"]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """The end of a branch, and how good the model finds it."""

    story: str
    grade: int


def begin(s, hero, count):
    s += sgl.user(f"Tell me a story about {hero}.") + sgl.assistant_begin()
    beginnings = s.fork(count)
    beginnings += sgl.gen("beginning", stop=".", max_tokens=32) + "."
    return beginnings


def go_on(beginning, count):
    endings = beginning.fork(count)
    endings += sgl.gen("ending", stop=".", max_tokens=32) + "." + sgl.assistant_end()
    return endings


def grade(endings):
    endings += sgl.user("How good is this story? Answer with a number from 1 to 5.")
    endings += sgl.assistant(sgl.select("grade", GRADES))


@sgl.function
def tree(s, hero, width):
    branches = [go_on(beginning, width) for beginning in begin(s, hero, width)]
    for endings in branches:
        grade(endings)
    # Nothing was waited for so far: all branches are under way.
    leaves = [leaf for endings in branches for leaf in endings]
    return [Leaf(f"{leaf['beginning']}.{leaf['ending']}.", int(leaf["grade"])) for leaf in leaves]


def main(backend):
    leaves = tree.run("a cat", width=3, temperature=0.8, backend=backend).ret_value
    return max(leaves, key=lambda leaf: leaf.grade), leaves


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        best, leaves = main(engine)
        print(f"The best of {len(leaves)}: {best}")
