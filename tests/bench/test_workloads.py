import pytest

from sgjax.bench.prompts import make_prompts
from sgjax.bench.schemas import CONSTRAINTS
from sgjax.bench.workloads import Job, Part, select, workloads
from sgjax.errors import ConfigError


def test_workloads_are_those_that_were_agreed_on():
    known = workloads()
    sizes = {
        name: (len(each.jobs), each.num_prompt, each.num_output) for name, each in known.items()
    }
    assert sizes["decode-64"] == (64, 64 * 1024, 64 * 129)
    assert sizes["prefill-32x1024"] == (32, 32 * 1024, 32)
    assert sizes["throughput-512-512"] == (512, 512 * 512, 512 * 512)
    assert sizes["shared-prefix"] == (256, 256 * (4096 + 64), 256 * 32)
    assert sizes["tree"] == (256, 256 * (1024 + 512 + 64), 256 * 64)
    count, num_prompt, num_output = sizes["lognormal"]
    assert (count, round(num_prompt, -3), round(num_output, -3)) == (1000, 311_000, 241_000)


def test_scale_shrinks_lengths_and_counts_but_never_to_nothing():
    small = workloads(0.01)
    assert all(job.num_prompt > 0 for each in small.values() for job in each.jobs)
    assert (len(small["decode-256"].jobs), small["decode-256"].longest) == (3, 10 + 2)
    assert len(small["decode-1"].jobs) == 1


def test_a_group_is_all_of_its_workloads_in_their_own_order():
    assert [each.name for each in select(["tree", "throughput"])] == [
        "throughput-1024-128",
        "throughput-512-512",
        "tree",
    ]
    assert [each.name for each in select(["decode-8", "decode-8"])] == ["decode-8"]
    bound = select(["json"])
    assert [each.name for each in bound] == [
        "json-character",
        "json-survey",
        "json-decode-64",
        "json-beside-64",
        "json-beside-jumps-64",
    ]
    assert all(each.bound_to in CONSTRAINTS for each in bound)
    encoding = select(["encode"])
    assert [each.name for each in encoding] == ["encode-32x512", "encode-256x512"]
    assert len(select(["all"])) == len(workloads()) - len(bound) - len(encoding)


def test_unknown_workload_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no workload 'tre'. Did you mean tree\?"):
        select(["tre"])
    with pytest.raises(ConfigError, match="Name a workload: all, decode"):
        select([])


def test_parts_of_one_name_are_the_same_tokens_and_others_are_not():
    shared = Part("shared", 20)
    jobs = [Job((shared, Part("a", 5)), 1), Job((shared, Part("b", 5)), 1)]
    first, second = make_prompts(jobs, 128256, seed=0)
    assert first[:20] == second[:20]
    assert first[20:] != second[20:]
    assert make_prompts(jobs, 128256, seed=0) == [first, second]
    assert make_prompts(jobs, 128256, seed=1)[0][:20] != first[:20]


@pytest.mark.parametrize(("vocab_size", "least", "most"), [(128256, 1000, 119999), (50, 0, 49)])
def test_ids_come_from_the_vocabulary_without_its_ends_where_it_is_large(vocab_size, least, most):
    (prompt,) = make_prompts([Job((Part("own", 5000),), 1)], vocab_size, seed=0)
    assert least <= min(prompt) and max(prompt) <= most
    assert max(prompt) - min(prompt) > 0.9 * (most - least)
