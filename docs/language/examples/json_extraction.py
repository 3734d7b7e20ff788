"""Records out of sentences: the output is bound to the schema of a pydantic model."""

from typing import Literal

from pydantic import BaseModel

import sgjax as sgl

SENTENCES = [
    "My brother flew to Kenya last week.",
    "In Japan the trains are on time.",
    "She bought a house in France.",
]


class Country(BaseModel):
    name: str
    capital: str
    continent: Literal["Africa", "America", "Asia", "Europe", "Oceania"]


@sgl.function
def extract(s, sentence):
    s += sgl.user(
        f"{sentence} Give me a JSON object about that country with the keys name, capital and "
        "continent."
    )
    s += sgl.assistant(sgl.gen("json", json_schema=Country.model_json_schema(), max_tokens=128))


def main(backend):
    items = [{"sentence": sentence} for sentence in SENTENCES]
    states = extract.run_batch(items, temperature=0, backend=backend)
    return [Country.model_validate_json(state["json"]) for state in states]


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        for country in main(engine):
            print(country)
