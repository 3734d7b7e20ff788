"""`sgjax.Engine` with real models: every family against transformers, and the built-in one."""

import json
import math

import pytest

import sgjax

SIZES = {
    "vocab_size": 160,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": {"model_type": "llama", "attention_bias": True, "tie_word_embeddings": False},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3"},
    "mistral": {"model_type": "mistral", "sliding_window": 9},
    "deepseek_v2": {
        "model_type": "deepseek_v2",
        "num_key_value_heads": 4,
        "kv_lora_rank": 24,
        "q_lora_rank": None,
        "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8,
        "head_dim": 8,
        "v_head_dim": 10,
        "first_k_dense_replace": 1,
        "n_routed_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "llama4": {
        "model_type": "llama4_text",
        "num_local_experts": 4,
        "intermediate_size_mlp": 48,
        "no_rope_layers": [1, 0],
        "attention_chunk_size": 9,
        "floor_scale": 5,
        "attn_scale": 0.5,
    },
}
OPTIONS = {
    "skip_tokenizer_init": True,
    "page_size": 4,
    "max_total_tokens": 400,
    "max_running_requests": 4,
    "chunked_prefill_size": 16,
}
PROMPTS = [[5, 9, 130, 7] * 6, [44, 3, 8], list(range(20, 57))]
PARAMS = {"temperature": 0, "max_new_tokens": 12, "ignore_eos": True}


def reference(family, folder):
    """A random model of transformers, saved; large enough in its weights that mistakes show."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(FAMILIES[family])
    config = AutoConfig.for_model(settings.pop("model_type"), **SIZES | settings)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = "norm" in name
            parameter.normal_(1.0 if is_norm else 0.0, 0.2 if is_norm else 0.15)
    model.save_pretrained(folder)
    return model


@pytest.mark.torch
@pytest.mark.parametrize(
    ("family", "tp", "ep"),
    [*((name, 1, 1) for name in FAMILIES), ("qwen2", 2, 1), ("mixtral", 2, 2)],
)
def test_tokens_and_logprobs_are_those_of_transformers(family, tp, ep, tmp_path):
    import torch

    model = reference(family, tmp_path)
    with sgjax.Engine(model_path=str(tmp_path), tp_size=tp, ep_size=ep, **OPTIONS) as engine:
        outputs = engine.generate(
            input_ids=PROMPTS,
            sampling_params=PARAMS,
            return_logprob=True,
            logprob_start_len=0,
            top_logprobs_num=3,
        )
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        ids = output["output_ids"]
        assert len(ids) == 12
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0].double()
        truth = torch.log_softmax(logits, -1)
        meta = output["meta_info"]
        found = meta["input_token_logprobs"] + meta["output_token_logprobs"]
        assert [entry[1] for entry in found] == prompt + ids
        assert found[0][0] is None
        for i, (logprob, token, _) in enumerate(found[1:]):
            assert logprob == pytest.approx(truth[i, token].item(), abs=2e-4)
        for i, (token, top) in enumerate(zip(ids, meta["output_top_logprobs"], strict=True)):
            row = truth[len(prompt) + i - 1]
            assert row.max() - row[token] < 2e-4
            best = row.topk(3).values.tolist()
            assert [entry[0] for entry in top] == pytest.approx(best, abs=2e-4)


def test_a_config_alone_is_enough_for_random_weights(tmp_path):
    settings = {"architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-6} | FAMILIES["llama"]
    (tmp_path / "config.json").write_text(json.dumps(SIZES | settings))
    options = OPTIONS | {"load_format": "dummy"}
    with sgjax.Engine(model_path=str(tmp_path), **options) as engine:
        output = engine.generate(input_ids=[1, 2, 3], sampling_params=PARAMS)
        assert len(output["output_ids"]) == 12
        assert "text" not in output
        again = engine.generate(input_ids=[1, 2, 3], sampling_params=PARAMS)
        assert again["output_ids"] == output["output_ids"]
        info = engine.get_server_info()
    assert info["load_format"] == "dummy"


@pytest.fixture(scope="module")
def demo():
    with sgjax.Engine(model_path="demo", max_total_tokens=2048, max_running_requests=4) as engine:
        yield engine


def test_the_built_in_model_goes_on_from_a_prompt(demo):
    out = demo.generate("The capital of France is", {"temperature": 0, "max_new_tokens": 8})
    assert out["text"].startswith(" Paris")
    assert out["meta_info"]["finish_reason"]["type"] == "stop"


def test_a_stop_string_ends_and_trims_the_text(demo):
    params = {"temperature": 0, "max_new_tokens": 40, "stop": ["who lived", "zebra"]}
    out = demo.generate("Once upon a time,", params)
    assert out["meta_info"]["finish_reason"] == {"type": "stop", "matched": "who lived"}
    assert "who lived" not in out["text"]
    whole = demo.generate("Once upon a time,", params | {"no_stop_trim": True})
    assert whole["text"] == out["text"] + "who lived"
    assert whole["output_ids"] == out["output_ids"]
    assert out["meta_info"]["completion_tokens"] == len(out["output_ids"])


def test_a_repeated_prompt_is_found_in_the_cache_until_it_is_flushed(demo):
    prompt = "The quick brown fox jumps over the lazy dog, and then it sleeps all day long. " * 2
    params = {"max_new_tokens": 1, "temperature": 0}
    assert demo.flush_cache()
    first, second = (demo.generate(prompt, params)["meta_info"] for _ in range(2))
    assert first["cached_tokens"] == 0
    assert second["cached_tokens"] == (second["prompt_tokens"] - 1) // 16 * 16 > 0
    assert demo.flush_cache()
    assert demo.generate(prompt, params)["meta_info"]["cached_tokens"] == 0


def test_penalties_biases_and_bounds_act_on_what_is_drawn(demo):
    def ids(**params):
        given = {"temperature": 0, "max_new_tokens": 24, "ignore_eos": True} | params
        return demo.generate("Hello Hello Hello", given)["output_ids"]

    plain = ids()
    first = plain[0]
    assert ids(logit_bias={first: -100})[0] != first
    assert ids(logit_bias={77: 100})[:2] == [77, 77]
    assert len(set(ids(logit_bias={77: 20}, frequency_penalty=2.0))) > 2
    repeated = max(plain.count(token) for token in plain)
    assert (
        max(ids(frequency_penalty=2.0, repetition_penalty=2.0).count(t) for t in plain) <= repeated
    )
    short = demo.generate("2 + 3 =", {"temperature": 0})["output_ids"]
    longer = demo.generate("2 + 3 =", {"temperature": 0, "min_new_tokens": len(short) + 5})
    assert len(longer["output_ids"]) >= len(short) + 5


def test_samples_differ_and_seeds_repeat_them(demo):
    params = {"temperature": 1.0, "n": 4, "max_new_tokens": 20, "seed": 11}
    one, two = (demo.generate("Once upon a time,", params) for _ in range(2))
    assert [out["text"] for out in one] == [out["text"] for out in two]
    assert len({out["text"] for out in one}) > 1


def test_a_stream_ends_where_the_whole_answer_does(demo):
    params = {"temperature": 0, "max_new_tokens": 30}
    whole = demo.generate("Once upon a time,", params)
    *_, last = demo.generate("Once upon a time,", params, stream=True)
    assert last["text"] == whole["text"]
    assert last["output_ids"] == whole["output_ids"]


def test_no_new_tokens_score_a_prompt(demo):
    out = demo.generate(
        ["The capital of France is Paris.", "The capital of France is Tokyo."],
        {"max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=0,
    )
    right, wrong = (
        math.fsum(entry[0] or 0 for entry in each["meta_info"]["input_token_logprobs"])
        for each in out
    )
    assert right > wrong
    assert [each["output_ids"] for each in out] == [[], []]
