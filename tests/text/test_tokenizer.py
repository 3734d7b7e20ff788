"""Tokenizers as checkpoints bring them, compared with what transformers makes of the same files."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from sgjax.errors import CheckpointError, ConfigError, InvalidRequest
from sgjax.text import Tokenizer, load_tokenizer
from tests.text.tokenizers_for_tests import KINDS, SPECIAL, byte_level, save_checkpoint

TEXT = "<s>naïve the END</s> 😀 <|im_start|>中文"


def transformers_tokenizer(folder):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def copy(backend: Backend) -> Backend:
    return Backend.from_str(backend.to_str())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_checkpoint_is_read_as_transformers_reads_it(tmp_path, kind):
    folder = save_checkpoint(tmp_path, KINDS[kind]())
    mine, theirs = load_tokenizer(folder), transformers_tokenizer(folder)
    for special in (True, False):
        ids = mine.encode(TEXT, add_special_tokens=special)
        assert ids == theirs.encode(TEXT, add_special_tokens=special)
        assert mine.decode(ids, skip_special_tokens=special) == theirs.decode(
            ids, skip_special_tokens=special, clean_up_tokenization_spaces=False
        )
    assert (mine.bos_token, mine.eos_token) == ("<s>", "</s>")
    assert mine.eos_ids == (theirs.eos_token_id,)
    assert mine.bos_id == theirs.bos_token_id
    assert mine.vocab_size == max(theirs.get_vocab().values()) + 1


@pytest.mark.parametrize(
    "config",
    [
        {"add_bos_token": True},
        {"add_bos_token": False},
        {"extra_special_tokens": ["<|im_start|>", "<tool→>"]},
        {"pad_token": {"content": "</s>", "__type": "AddedToken", "special": True}},
        {"split_special_tokens": True},
        {
            "added_tokens_decoder": {
                "424": {"content": "<new>", "special": False, "normalized": False},
                "425": {"content": "<also new>", "special": True},
                "2": {"content": "<|im_start|>", "special": True, "rstrip": True},
            }
        },
    ],
    ids=lambda config: "+".join(config),
)
def test_what_tokenizer_config_says_is_done_as_transformers_does_it(tmp_path, config):
    backend = copy(byte_level())
    size = backend.get_vocab_size()
    listed = config.get("added_tokens_decoder", {})
    renamed = {str(size + int(i) - 424) if int(i) >= 424 else i: t for i, t in listed.items()}
    folder = save_checkpoint(
        tmp_path, backend, **config | ({"added_tokens_decoder": renamed} if listed else {})
    )
    mine, theirs = load_tokenizer(folder), transformers_tokenizer(folder)
    text = "the <|im_start|> END<new> <also new><tool→></s>"
    for special in (True, False):
        ids = mine.encode(text, add_special_tokens=special)
        assert ids == theirs.encode(text, add_special_tokens=special)
        assert mine.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("config", "ends"),
    [
        ({"add_bos_token": True}, ("<s>", "")),
        ({"add_eos_token": True}, ("<s>", "</s>")),
        ({"add_bos_token": False, "add_eos_token": True}, ("", "</s>")),
        ({}, ("", "")),
    ],
)
def test_a_llama_tokenizer_adds_the_ends_that_its_config_says(tmp_path, config, ends):
    save_checkpoint(tmp_path, byte_level(), tokenizer_class="LlamaTokenizerFast", **config)
    tokenizer = load_tokenizer(tmp_path)
    plain = tokenizer.encode("the END", add_special_tokens=False)
    bos, eos = ([tokenizer.token_id(end)] if end else [] for end in ends)
    assert tokenizer.encode("the END") == bos + plain + eos


def test_older_checkpoints_name_tokens_in_special_tokens_map(tmp_path):
    folder = save_checkpoint(tmp_path, byte_level(), bos_token=None, eos_token=None)
    map_file = folder / "special_tokens_map.json"
    map_file.write_text(json.dumps({"eos_token": {"content": "</s>", "lstrip": False}}))
    assert load_tokenizer(folder).eos_ids == (1,)


def test_a_named_token_without_an_id_is_left_out(tmp_path):
    folder = save_checkpoint(tmp_path, byte_level(), pad_token="[PAD]")
    tokenizer = load_tokenizer(folder)
    assert "pad_token" not in tokenizer.special_tokens
    assert max(tokenizer.encode("[PAD]")) < tokenizer.vocab_size == byte_level().get_vocab_size()


def test_the_truncation_of_a_checkpoint_cuts_nothing_here(tmp_path):
    backend = copy(byte_level())
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    tokenizer = load_tokenizer(save_checkpoint(tmp_path, backend))
    assert tokenizer.encode("the END " * 10) == byte_level().encode("the END " * 10).ids


def test_special_tokens_are_told_apart():
    tokenizer = Tokenizer(byte_level(), SPECIAL)
    ids = [tokenizer.token_id(token) for token in ("<s>", "<|im_end|>", "<think>", "t")]
    assert [tokenizer.is_special(token_id) for token_id in ids] == [True, True, False, False]


def test_bytes_of_half_a_character_are_exact():
    tokenizer = Tokenizer(KINDS["byte_fallback"](), SPECIAL)
    half = tokenizer.token_id("<0xF0>")
    assert (tokenizer.token_bytes(half), tokenizer.token_text(half)) == (b"\xf0", "�")
    assert tokenizer.token_text(tokenizer.token_id("▁the")) == " the"
    assert tokenizer.token_bytes(10**6) == b""


def test_a_lone_surrogate_is_a_400():
    with pytest.raises(InvalidRequest, match=r"lone surrogate \('\\ud83d'\) at character 3"):
        Tokenizer(byte_level(), SPECIAL).encode("abc\ud83d")


@pytest.mark.parametrize("token_id", [-1, 2**63])
def test_an_impossible_id_is_a_400(token_id):
    with pytest.raises(InvalidRequest, match="from 0 to"):
        Tokenizer(byte_level(), SPECIAL).decode([token_id])


def test_threads_may_share_a_tokenizer():
    tokenizer = Tokenizer(copy(byte_level()), SPECIAL)
    texts = [f"the {n} END 🦜 naïve 中文 {n * n}" * 5 for n in range(64)]
    with ThreadPoolExecutor(8) as threads:
        decoded = list(threads.map(lambda text: tokenizer.decode(tokenizer.encode(text)), texts))
    assert decoded == texts


def test_a_decoder_that_cannot_stream_is_refused_by_name():
    from tokenizers import decoders

    backend = copy(byte_level())
    backend.decoder = decoders.CTC()
    with pytest.raises(ConfigError, match="CTC"):
        Tokenizer(backend, SPECIAL)


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="no folder"):
        load_tokenizer(tmp_path / "absent")


@pytest.mark.parametrize("content", ["{", '{"model": 3}', ""])
def test_a_broken_tokenizer_json_is_told_by_name(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"added_tokens_decoder": {"x": {}}}', '{"added_tokens_decoder": {"3": 4}}'],
)
def test_a_broken_tokenizer_config_is_told_by_name(tmp_path, content):
    save_checkpoint(tmp_path, byte_level())
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        load_tokenizer(tmp_path)


def test_files_that_disagree_about_an_id_are_refused(tmp_path):
    listed = {"9999": {"content": "<new>", "special": True}}
    folder = save_checkpoint(tmp_path, byte_level(), added_tokens_decoder=listed)
    with pytest.raises(CheckpointError, match="9999"):
        load_tokenizer(folder)


def test_without_tokenizer_json_the_older_files_are_read(tmp_path):
    backend = copy(byte_level())
    save_checkpoint(tmp_path, None, tokenizer_class="GPT2Tokenizer")
    backend.model.save(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    tokenizer = load_tokenizer(tmp_path)
    text = "the quick END 🦜"
    assert tokenizer.encode(text) == backend.encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.eos_token == "</s>"


def test_slow_mode_reads_the_same_tokens(tmp_path):
    folder = save_checkpoint(tmp_path, byte_level())
    tokenizer = load_tokenizer(folder, mode="slow")
    assert tokenizer.encode(TEXT) == byte_level().encode(TEXT).ids


def test_a_folder_without_any_tokenizer_says_what_to_do(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="--skip-tokenizer-init"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_file_without_its_packages_names_them(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").write_bytes(b"no model at all")
    save_checkpoint(tmp_path, None, tokenizer_class="LlamaTokenizer")
    monkeypatch.setattr("sgjax.text.vocabulary_files.is_installed", lambda package: False)
    with pytest.raises(CheckpointError, match="pip install sentencepiece protobuf"):
        load_tokenizer(tmp_path)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass T: pass\n")
    save_checkpoint(
        tmp_path, None, tokenizer_class="T", auto_map={"AutoTokenizer": ["evil.T", None]}
    )
    with pytest.raises(CheckpointError):
        load_tokenizer(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_text_needs_neither_jax_nor_transformers():
    code = (
        "import sys, sgjax.text; "
        "sys.exit(bool({'jax', 'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_token_flagged_in_the_vocabulary_only_is_special_once_named(tmp_path):
    backend = copy(byte_level())
    backend.add_tokens([AddedToken("<end>", special=False)])
    tokenizer = load_tokenizer(save_checkpoint(tmp_path, backend, eos_token="<end>"))
    assert tokenizer.decode(tokenizer.encode("the<end>")) == "the"
