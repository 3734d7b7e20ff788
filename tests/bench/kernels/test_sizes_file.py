import dataclasses
import json

import pytest

from sgjax.bench.kernels.attention import OP
from sgjax.bench.kernels.sizes_file import read_candidates, sizes_path, write_sizes
from sgjax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Sizes:
    block: int = 64
    warps: int = 4


def test_an_entry_is_written_and_all_others_stay(tmp_path):
    path = tmp_path / "gpu.json"
    write_sizes(path, "attention", "decode", 512, Sizes())
    write_sizes(path, "attention", "decode", 64, Sizes(block=16))
    write_sizes(path, "attention", "extend", 64, Sizes(warps=8))
    write_sizes(path, "attention", "decode", 512, Sizes(warps=2))
    found = json.loads(path.read_text())
    assert list(found["attention"]["decode"]) == ["64", "512"]
    assert found["attention"]["decode"]["512"] == {"block": 64, "warps": 2}
    assert found["attention"]["extend"] == {"64": {"block": 64, "warps": 8}}


def test_the_file_of_a_gpu_is_written_as_it_stands_there(tmp_path):
    known = sizes_path("NVIDIA H200").read_text()
    path = tmp_path / "gpu.json"
    path.write_text(known)
    kernel = OP.kernels[0]
    case = next(case for case in OP.real if kernel.takes(case))
    sizes = kernel.sizes(case, "NVIDIA H200")
    write_sizes(path, OP.name, kernel.name, OP.shape_class(case), sizes)
    assert path.read_text() == known


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"attention": 3}'])
def test_a_file_of_something_else_is_left_alone(text, tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_sizes(path, "attention", "decode", 64, Sizes())
    assert path.read_text() == text
    with pytest.raises(ConfigError, match="cannot be written"):
        write_sizes(tmp_path / "none" / "gpu.json", "attention", "decode", 64, Sizes())


@pytest.mark.parametrize("kernel", OP.kernels, ids=lambda kernel: kernel.name)
def test_candidates_are_of_the_fields_that_a_kernel_has_and_hold_what_is_tuned(kernel):
    candidates = read_candidates(OP.name)[kernel.name]
    case = next(case for case in OP.real if kernel.takes(case))
    for kind in (None, "NVIDIA H200"):
        sizes = dataclasses.asdict(kernel.sizes(case, kind))
        assert sizes.keys() == candidates.keys()
    assert all(values == sorted(values) for values in candidates.values())
