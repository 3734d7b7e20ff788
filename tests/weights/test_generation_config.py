import json

import pytest

from sgjax.errors import ConfigError
from sgjax.weights.generation_config import read_generation_config


def write(folder, **files):
    for name, values in files.items():
        text = values if isinstance(values, str) else json.dumps(values)
        (folder / f"{name}.json").write_text(text)
    return folder


@pytest.mark.parametrize(("eos", "ids"), [(2, (2,)), ([5, 2, 5], (5, 2)), (0, (0,))])
def test_eos_is_one_id_or_several(tmp_path, eos, ids):
    write(tmp_path, generation_config={"eos_token_id": eos}, config={"eos_token_id": 9})
    assert read_generation_config(tmp_path).eos_ids == ids


def test_eos_falls_back_to_config_json(tmp_path):
    write(tmp_path, generation_config={"temperature": 0.6}, config={"eos_token_id": [7]})
    assert read_generation_config(tmp_path).eos_ids == (7,)


def test_without_any_file_nothing_ends_a_text(tmp_path):
    assert read_generation_config(tmp_path).eos_ids == ()


def test_recommended_sampling_is_read_by_our_names(tmp_path):
    values = {"temperature": 0.6, "top_p": 0.9, "top_k": 0, "do_sample": True, "max_length": 4096}
    write(tmp_path, generation_config=values)
    found = read_generation_config(tmp_path).sampling
    assert found == {"temperature": 0.6, "top_p": 0.9, "top_k": -1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{", "is not JSON"),
        ([], "must hold a JSON object"),
        ({"eos_token_id": "</s>"}, "must be a token id or a list"),
        ({"eos_token_id": [True]}, "must be a token id or a list"),
        ({"eos_token_id": -1}, "must be a token id or a list"),
        ({"temperature": "hot"}, "temperature = 'hot' must be a number"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        read_generation_config(write(tmp_path, generation_config=values))
