"""Roles in all their forms: the text that the model reads, and the messages."""

import base64
import io
import traceback

import pytest

import sgjax as sgl
from sgjax.errors import InvalidProgram, ProgramFailed
from sgjax.lang.chat_template import (
    ChatTemplate,
    get_chat_template,
    get_chat_template_by_model_path,
    register_chat_template_matching_function,
)

pytestmark = pytest.mark.timeout(10)

CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n"
    "<|im_start|>assistant\nYes!<|im_end|>\n"
)
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi?"},
    {"role": "assistant", "content": "Yes!"},
]


@sgl.function
def as_functions(s):
    s += sgl.system("Be brief.")
    s += sgl.user("Hi?") + sgl.assistant("Yes" + sgl.gen("x"))


@sgl.function
def as_methods(s):
    s.system("Be brief.")
    s.user("Hi?")
    s.assistant(["Yes", sgl.gen("x")])


@sgl.function
def as_blocks(s):
    with s.system():
        s += "Be brief."
    with s.user():
        s += "Hi?"
    with s.assistant() as same:
        same += "Yes" + sgl.gen("x")


@sgl.function
def as_beginnings_and_ends(s):
    s += sgl.system_begin() + "Be brief." + sgl.system_end()
    s += sgl.user_begin()
    s += "Hi?"
    s += sgl.user_end() + sgl.assistant_begin() + "Yes" + sgl.gen("x") + sgl.assistant_end()


@sgl.function
def as_beginnings_without_a_text(s):
    s += sgl.system() + "Be brief." + sgl.system_end()
    s += sgl.user() + "Hi?" + sgl.user_end()
    s += sgl.assistant() + "Yes" + sgl.gen("x") + sgl.assistant_end()


FORMS = [as_functions, as_methods, as_blocks, as_beginnings_and_ends, as_beginnings_without_a_text]


@pytest.mark.parametrize("program", FORMS, ids=lambda program: program.__name__)
def test_every_form_says_the_same(fake, program):
    backend = fake()
    state = program.run(backend=backend)
    assert state.text() == CHATML
    assert state.messages() == MESSAGES
    assert state["x"] == "!"
    assert backend.calls[0].text == CHATML.removesuffix("!<|im_end|>\n")
    assert backend.ended_roles == ["system", "user", "assistant"]


@sgl.function
def ask(s, *texts):
    for text in texts:
        s += sgl.user(text) + sgl.assistant(sgl.gen())


def asked(backend, *texts):
    @sgl.function
    def program(s):
        ask(s, *texts)

    return program.run(backend=backend)


def test_a_template_s_own_system_prompt_comes_before_the_first_message(fake):
    state = asked(fake(template="qwen"), "Hi?", "So?")
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    turn = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n!<|im_end|>\n"
    assert state.text() == system + turn.format("Hi?") + turn.format("So?")
    assert state.messages()[0] == {"role": "system", "content": "You are a helpful assistant."}
    assert [message["role"] for message in state.messages()].count("system") == 1


def test_a_system_prompt_of_one_s_own_replaces_it(fake):
    state = as_functions.run(backend=fake(template="qwen"))
    assert state.text() == CHATML and state.messages() == MESSAGES


def test_llama_2_puts_the_system_message_into_the_first_user_s(fake):
    @sgl.function
    def chat(s):
        s += sgl.system("Be brief.")
        ask(s, "Hi?", "So?")

    state = chat.run(backend=fake(template="llama-2-chat"))
    assert state.text() == (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi? [/INST]! </s><s>[INST] So? [/INST]! </s><s>"
    )
    assert [message["content"] for message in state.messages()] == [
        "Be brief.", "Hi?", "!", "So?", "!",
    ]  # fmt: skip


def test_llama_2_without_a_system_message_begins_with_the_user_s(fake):
    assert asked(fake(template="llama-2-chat"), "Hi?").text() == "[INST] Hi? [/INST]! </s><s>"


def test_an_opening_stands_before_chats_without_a_system_message_alone(fake):
    texts = {"system": ("S:", "\n"), "user": ("U:", "\n"), "assistant": ("A:", "\n")}
    template = ChatTemplate("t", texts, opening="<o>")
    assert asked(fake(template=template), "Hi?").text() == "<o>U:Hi?\nA:!\n"
    assert (
        as_functions.run(backend=fake(template=template)).text() == "S:Be brief.\nU:Hi?\nA:Yes!\n"
    )


def test_messages_begin_without_white_space_and_the_text_keeps_it(fake):
    state = asked(fake(lambda text: " Yes. ", template="default"), "\n Hi? ")
    assert state.text() == "USER:\n Hi? \nASSISTANT: Yes. \n"
    assert [message["content"] for message in state.messages()] == ["Hi? ", "Yes. "]


def test_a_message_that_is_left_open_is_told_as_far_as_it_goes(fake):
    @sgl.function
    def open_end(s):
        s += sgl.user("Hi?") + sgl.assistant_begin() + "Yes" + sgl.gen("x")

    state = open_end.run(backend=fake(template="default"))
    assert state.text() == "USER:Hi?\nASSISTANT:Yes!"
    assert state.messages() == [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Yes!"},
    ]
    assert state["x"] == "!" and state.error() is None


def test_text_outside_of_messages_is_in_the_text_alone(fake):
    @sgl.function
    def mixed(s):
        s += "Before." + sgl.user("Hi?") + "Behind."

    state = mixed.run(backend=fake(template="default"))
    assert state.text() == "Before.USER:Hi?\nBehind."
    assert state.messages() == [{"role": "user", "content": "Hi?"}]


def test_a_block_that_raises_ends_its_message(fake):
    @sgl.function
    def careful(s):
        try:
            with s.user():
                s += "Hi"
                raise ValueError
        except ValueError:
            s += sgl.assistant("Go on.")

    assert careful.run(backend=fake(template="default")).text() == "USER:Hi\nASSISTANT:Go on.\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (sgl.user(sgl.user("Hi?")), "The user message cannot begin inside of the user"),
        (
            sgl.user_begin() + sgl.system_begin(),
            "The system message cannot begin inside of the user",
        ),
        (sgl.user_end(), r"user_end\(\) without its beginning: no message is open"),
        (sgl.user_begin() + sgl.assistant_end(), "the user message is open"),
    ],
)
def test_messages_that_are_nested_or_not_begun_are_refused_at_their_line(fake, wrong, message):
    @sgl.function
    def nests(s):
        s += "Before."
        with pytest.raises(InvalidProgram, match=message):
            s += wrong
        s += "Behind."

    state = nests.run(backend=fake())
    assert state.text() == "Before.Behind."  # nothing of it was appended


@pytest.mark.parametrize("role", ["system", "user"])
def test_a_message_that_the_program_leaves_open_is_refused_where_it_began(fake, role):
    @sgl.function
    def forgets(s):
        s += "Before." + getattr(sgl, f"{role}_begin")()
        s += "Hi?" + sgl.gen("x")

    with pytest.raises(InvalidProgram, match=rf"End it: {role}_end\(\)") as caught:
        forgets.run(backend=fake())
    innermost = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert innermost.line == 's += "Before." + getattr(sgl, f"{role}_begin")()'
    assert f"began at {__file__}:{innermost.lineno} has not ended" in str(caught.value)
    (state,) = forgets.run_batch([{}], backend=fake())
    with pytest.raises(ProgramFailed, match=f"The {role} message that began at"):
        state["x"]


def test_a_message_that_a_fork_leaves_open_is_the_fork_s(fake):
    @sgl.function
    def forks(s):
        s += sgl.user_begin() + "Hi"
        s.fork()[0].__iadd__("!")
        s += sgl.user_end()

    assert forks.run(backend=fake(template="default")).text() == "USER:Hi\n"


def test_a_message_is_not_ended_by_a_fork_that_did_not_begin_in_it(fake):
    @sgl.function
    def forks(s):
        s += sgl.user("Hi?") + sgl.assistant_begin()
        fork = s.fork()[0]
        fork += sgl.gen("x") + sgl.assistant_end()
        s += "No." + sgl.assistant_end()
        return fork.text(), fork.messages()

    state = forks.run(backend=fake(template="default"))
    text, messages = state.ret_value
    assert text == "USER:Hi?\nASSISTANT:!\n"
    assert messages[-1] == {"role": "assistant", "content": "!"}
    assert state.messages()[-1] == {"role": "assistant", "content": "No."}


PNG = b"\x89PNG made up"


class Picture:
    """As PIL has them."""

    def save(self, out, format):
        out.write(b"\x89PNG " + format.encode())


@pytest.mark.parametrize("kind", ["path", "bytes", "picture"])
def test_an_image_is_a_part_of_its_message(fake, kind, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    source = {"path": path, "bytes": PNG, "picture": Picture()}[kind]
    data = base64.b64encode(b"\x89PNG PNG" if kind == "picture" else PNG).decode()

    @sgl.function
    def look(s):
        s += sgl.user("The token <image> is " + sgl.image(source) + " this?")

    state = look.run(backend=fake(template="default", reads=["image"]))
    assert state.text() == "USER:The token <image> is <image> this?\n"
    assert state.messages() == [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "text", "text": "The token <image> is  this?"},
            ],
        }
    ]


def test_there_may_be_many_images(fake):
    @sgl.function
    def look(s):
        s += sgl.user(sgl.image(PNG) + "One." + sgl.image(PNG) + "Two.") + sgl.user("None.")

    messages = look.run(backend=fake(reads=["image"])).messages()
    assert [part["type"] for part in messages[0]["content"]] == ["image_url", "image_url", "text"]
    assert messages[0]["content"][2]["text"] == "One.Two."
    assert messages[1]["content"] == "None."


@pytest.mark.parametrize("medium", [sgl.image(PNG), sgl.video(PNG, 3)])
def test_a_backend_that_reads_text_refuses_the_rest_at_its_line(fake, medium):
    @sgl.function
    def look(s):
        s += "See " + medium

    with pytest.raises(InvalidProgram, match=r"reads text, and no (image|video)"):
        look.run(backend=fake())


def test_an_image_that_is_not_there_fails_its_program(fake, tmp_path):
    @sgl.function
    def look(s):
        s += sgl.image(tmp_path / "none.png") + sgl.gen("x")

    state = look.run(backend=fake(reads=["image"]))
    with pytest.raises(ProgramFailed, match=r"image\(\) failed, at .*none.png cannot be read"):
        state["x"]


@pytest.mark.parametrize("source", [None, 5, io.BytesIO()])
def test_an_image_is_a_path_bytes_or_a_picture(source):
    with pytest.raises(InvalidProgram, match="takes a path, bytes or a PIL image"):
        sgl.image(source)


@pytest.mark.parametrize("count", [0, -1, 1.5, None])
def test_a_video_has_at_least_one_frame(count):
    with pytest.raises(InvalidProgram, match="num_frames must be a number from 1 on"):
        sgl.video(PNG, count)


def test_templates_are_found_by_the_names_of_models():
    names = {
        "meta-llama/Meta-Llama-3.1-8B-Instruct": "llama-3-instruct",
        "meta-llama/Llama-2-7b-chat-hf": "llama-2-chat",
        "mistralai/Mixtral-8x7B-Instruct-v0.1": "llama-2-chat",
        "Qwen/Qwen2-7B-Instruct": "qwen",
        "google/gemma-2-9b-it": "gemma-it",
        "liuhaotian/llava-v1.5-7b": "vicuna_v1.1",
        "someone/else": "default",
    }
    found = {path: get_chat_template_by_model_path(path).name for path in names}
    assert found == names


def test_a_matching_function_of_one_s_own_is_asked_first(monkeypatch):
    from sgjax.lang import chat_template

    monkeypatch.setattr(chat_template, "_MATCHES", [])
    mine = ChatTemplate("mine", {})
    register_chat_template_matching_function(lambda path: mine if "Qwen" in path else None)
    assert get_chat_template_by_model_path("Qwen/Qwen2-7B-Instruct") is mine
    assert get_chat_template_by_model_path("google/gemma-2-9b-it").name == "gemma-it"


def test_an_unknown_template_names_the_known():
    with pytest.raises(InvalidProgram, match=r"no chat template 'x'\. Known are .*chatml"):
        get_chat_template("x")
