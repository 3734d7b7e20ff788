"""Tokenizers whose class is code in their checkpoint give that class's ids, or are refused."""

import json
import random

import pytest
from tokenizers import normalizers
from transformers.convert_slow_tokenizer import SpmConverter

from sgjax.errors import CheckpointError
from sgjax.text import ChatTemplate, load_tokenizer
from tests.text import older_files
from tests.text.older_files import FAMILIES, added, auto_map, sentencepiece_model, write
from tests.text.tokenizers_for_tests import CORPUS, byte_level, save_checkpoint

TEXTS = [
    *CORPUS[:3],
    "",
    " ",
    "  the END ",
    "\n\n12345 the  0\t\tend",
    "it's THE'LL the\r\n end",
    "e\u0301 A\u030a ﬁ ▁the ½",
    "[gMASK]sop<|user|>\n the end<|assistant|>",
    "[gMASK]<sop><|user|>\nthe",
    "<s>the</s>end <unk> <pad>",
    "<|im_start|>user\nthe end<|im_end|>\n<|endoftext|>",
    "<|im_end|>\u0338 <|extra_204|><|extra_205|>",
    "[INST] the [/INST] [BOS]",
]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_its_ids_are_those_of_its_published_class(tmp_path, family):
    published = FAMILIES[family](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    draw = random.Random(0)
    letters = [*"thends ENDé中01 \n\t.▁", "  ", "😀", *TEXTS[-6:]]
    drawn = ["".join(draw.choices(letters, k=12)) for _ in range(300)]
    for text in TEXTS + drawn:
        ids = published.encode(text)
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        assert tokenizer.encode(text) == [*published.before, *ids], text


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_its_ids_are_its_text_again(tmp_path, family):
    published = FAMILIES[family](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for text in CORPUS[:3]:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.eos_ids == (published.eos,)
    assert tokenizer.is_special(published.eos)
    assert tokenizer.decode(
        [*tokenizer.encode("the", add_special_tokens=False), published.eos]
    ) == ("the")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_its_code_is_not_run(tmp_path, family):
    FAMILIES[family](tmp_path)
    load_tokenizer(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("family", ["chatglm3", "internlm2"])
def test_its_chat_template_writes_tokens(tmp_path, family):
    published = FAMILIES[family](tmp_path)
    template = ChatTemplate.load(tmp_path)
    assert template.problem is None
    chat = template.render([{"role": "user", "content": "the end"}])
    ids = load_tokenizer(tmp_path).encode(chat, add_special_tokens=False)
    assert ids == published.encode(chat)


@pytest.mark.parametrize("family", ["qwen", "stablelm2", "chatglm2", "grok1", "tekken"])
def test_a_checkpoint_without_chat_template_says_so(tmp_path, family):
    FAMILIES[family](tmp_path)
    assert "no chat template" in str(ChatTemplate.load(tmp_path).problem)


@pytest.mark.parametrize(
    ("config", "before", "after"),
    [
        ({}, [1], []),
        ({"add_bos_token": False}, [], []),
        ({"add_eos_token": True}, [1], [2]),
    ],
)
@pytest.mark.parametrize("family", ["internlm2", "llama2"])
def test_its_config_may_say_which_ends_are_put(tmp_path, family, config, before, after):
    published = FAMILIES[family](tmp_path)
    change_config(tmp_path, **config)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("the end") == [*before, *published.encode("the end"), *after]
    first, second = ([*before, *published.encode(text), *after] for text in ("the", "end"))
    assert tokenizer.encode_pair("the", "end")[0] == first + second


def test_a_llama_that_is_not_legacy_puts_no_space_behind_tokens(tmp_path):
    FAMILIES["llama2"](tmp_path)
    legacy = load_tokenizer(tmp_path)
    change_config(tmp_path, legacy=False)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("the END") == legacy.encode("the END")
    assert tokenizer.decode(tokenizer.encode("a</s>the")) == "athe"
    assert legacy.decode(legacy.encode("a</s>the")) == "a the"


def test_added_tokens_of_older_checkpoints_have_a_file_of_their_own(tmp_path):
    FAMILIES["llama2"](tmp_path)
    size = load_tokenizer(tmp_path).vocab_size
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<pad>": size}))
    assert size in load_tokenizer(tmp_path).encode("the<pad>END")


def test_words_that_tekken_leaves_out_are_left_out(tmp_path):
    published = older_files.tekken(tmp_path, spare=100)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocab_size == load_size(tmp_path)
    for text in CORPUS[:3]:
        assert tokenizer.encode(text, add_special_tokens=False) == published.encode(text)


def load_size(folder):
    return json.loads((folder / "tekken.json").read_text())["config"]["default_vocab_size"]


def change_config(folder, **changes):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


TO_DO = r"--tokenizer-path .* --skip-tokenizer-init"


@pytest.mark.parametrize(
    "config",
    [
        auto_map("tokenization_baichuan", "BaichuanTokenizer"),
        auto_map("tokenization_baichuan", "LlamaTokenizerOfTheirs"),
        auto_map("tokenization_OfTheirs", "LlamaTokenizer"),
        {"tokenizer_class": "BaichuanTokenizer"},
        {"auto_map": ["tokenization_x.BaichuanTokenizer", None]},
        {"auto_map": {"AutoTokenizer": "owner/name--tokenization_x.BaichuanTokenizer"}},
        {"tokenizer_class": "GPT2Tokenizer", **auto_map("x", "BaichuanTokenizer")},
    ],
)
def test_a_class_that_is_only_code_is_refused_by_name(tmp_path, config):
    write(tmp_path, config, tokenizer__model=b"not read")
    with pytest.raises(CheckpointError, match=TO_DO) as refused:
        load_tokenizer(tmp_path)
    assert "never runs code of a checkpoint" in str(refused.value)
    assert "Baichuan" in str(refused.value) or "OfTheirs" in str(refused.value)


def test_dbrx_as_it_was_first_published_is_told_of_later_revisions(tmp_path):
    write(tmp_path, auto_map("tiktoken", "TiktokenTokenizerWrapper"))
    with pytest.raises(CheckpointError, match=r"Later revisions of DBRX .*" + TO_DO):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("family", "file"),
    [
        ("qwen", "qwen.tiktoken"),
        ("stablelm2", "arcade100k.tiktoken"),
        ("glm4", "tokenizer.model"),
        ("chatglm2", "tokenizer.model"),
        ("internlm2", "tokenizer.model"),
        ("grok1", "tokenizer.model"),
        ("tekken", "tekken.json"),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"no vocabulary at all", b"IQ== 0\nIg== 0\n"])
def test_a_broken_or_missing_vocabulary_is_told_by_name(tmp_path, family, file, content):
    FAMILIES[family](tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    elif family == "tekken":
        return  # then nothing says that it is one
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("family", ["glm4", "internlm2", "chatglm3"])
def test_an_id_that_its_files_disagree_about_is_refused(tmp_path, family):
    FAMILIES[family](tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    listed = {**config["added_tokens_decoder"], **added(99_999, "[gMASK]")}
    change_config(tmp_path, added_tokens_decoder=listed)
    with pytest.raises(CheckpointError, match="gMASK"):
        load_tokenizer(tmp_path)


def test_a_glm4_whose_config_lists_no_tokens_is_refused(tmp_path):
    FAMILIES["glm4"](tmp_path)
    change_config(tmp_path, added_tokens_decoder={})
    with pytest.raises(CheckpointError, match=r"does not list \[gMASK\]"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_of_qwen_with_more_words_is_refused(tmp_path):
    FAMILIES["qwen"](tmp_path)
    change_config(tmp_path, extra_vocab_file="more.tiktoken")
    with pytest.raises(CheckpointError, match="extra_vocab_file"):
        load_tokenizer(tmp_path)


def test_a_chatglm_whose_command_is_a_piece_too_is_refused(tmp_path):
    FAMILIES["chatglm2"](tmp_path)
    model = sentencepiece_model(user_defined_symbols=("sop",))
    (tmp_path / "tokenizer.model").write_bytes(model)
    with pytest.raises(CheckpointError, match="two ids for 'sop'"):
        load_tokenizer(tmp_path)


def test_a_conversion_that_is_not_exact_is_refused_with_a_text(tmp_path, monkeypatch):
    FAMILIES["internlm2"](tmp_path)
    convert = SpmConverter.build_tokenizer_from_spm_proto

    def lowering(**arguments):
        backend = convert(**arguments)
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), backend.normalizer])
        return backend

    monkeypatch.setattr(SpmConverter, "build_tokenizer_from_spm_proto", staticmethod(lowering))
    with pytest.raises(CheckpointError, match=r"cannot be served exactly: sentencepiece encodes"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("family", "packages"),
    [("qwen", "tiktoken"), ("tekken", "tiktoken"), ("chatglm2", "sentencepiece protobuf")],
)
def test_a_vocabulary_without_the_packages_that_read_it_names_them(
    tmp_path, monkeypatch, family, packages
):
    FAMILIES[family](tmp_path)
    monkeypatch.setattr("sgjax.text.vocabulary_files.is_installed", lambda package: False)
    with pytest.raises(CheckpointError, match=f"pip install {packages}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "TokenizersBackend"},
        {"tokenizer_class": "GPT2Tokenizer"},
        {"tokenizer_class": "GPTNeoXTokenizer"},
        {"tokenizer_class": "Qwen2Tokenizer"},
        auto_map("tokenization_internlm2", "InternLM2Tokenizer"),
        auto_map("tokenization_chatglm", "ChatGLM4Tokenizer"),
        auto_map("tokenization_qwen", "QWenTokenizer"),
        auto_map("tokenization_cohere_fast", "CohereTokenizerOfTheirs"),
        auto_map("tiktoken", "TiktokenTokenizerWrapper"),
    ],
    ids=lambda config: config["tokenizer_class"],
)
def test_a_tokenizer_json_is_read_whatever_class_is_named(tmp_path, config):
    save_checkpoint(tmp_path, byte_level(), **config)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("the END<|im_end|>") == byte_level().encode("the END<|im_end|>").ids


def test_an_xlm_roberta_of_sentencepiece_counts_from_one_more(tmp_path):
    model = sentencepiece_model(
        model_type="unigram", vocab_size=90, byte_fallback=False, remove_extra_whitespaces=True
    )
    write(tmp_path, {"tokenizer_class": "XLMRobertaTokenizer"})
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta"}')
    theirs = older_files.processor(model).encode("the quick end")
    assert load_tokenizer(tmp_path).encode("the quick end") == [0, *(i + 1 for i in theirs), 2]


def test_a_bert_of_a_list_of_words_is_read(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "en", "##d"]
    write(tmp_path, {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    assert load_tokenizer(tmp_path).encode("The END?") == [2, 5, 6, 7, 1, 3]
