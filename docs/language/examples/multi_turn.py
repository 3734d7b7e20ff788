"""A conversation: each answer is read by the questions behind it."""

import sgjax as sgl


@sgl.function
def guide(s, country):
    s += sgl.system("You are a travel guide. Answer in one sentence.")
    s += sgl.user(f"What is the capital of {country}?")
    s += sgl.assistant(sgl.gen("capital", max_tokens=32))
    s += sgl.user("List two local attractions.")
    s += sgl.assistant(sgl.gen("sights", max_tokens=64))


def main(backend):
    state = guide.run(country="France", temperature=0, backend=backend)
    return state.messages()


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        for message in main(engine):
            print(f"{message['role']}: {message['content']}")
