import re
from pathlib import Path

from docs import generate_models, generate_options
from sgjax.cli import make_parser
from sgjax.config_sources import shipped_configs
from sgjax.flags import Parser

ROOT = Path(__file__).resolve().parents[2]


def test_generated_pages_are_current():
    for name, page in (("options", generate_options.page()), ("models", generate_models.page())):
        assert (ROOT / "docs" / f"{name}.md").read_text() == page, "run `make docs`"


def test_links_between_our_pages_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


def test_readme_s_first_screen_has_the_two_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:40]
    assert "make serve" in "\n".join(first) and "make test" in "\n".join(first)


def test_every_shipped_config_says_what_it_is_for():
    for path in shipped_configs().glob("*.yaml"):
        assert path.read_text().startswith("# "), path


def test_every_flag_that_a_message_names_exists():
    parser, commands = make_parser()
    known = {flag for name in commands for flag in command(parser, name)._option_string_actions}
    known |= {"--version"}
    folders = [ROOT / "sgjax", ROOT / "server"]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    scripts = ("demo", "bench")  # they have flags of their own
    for path in sources:
        if not set(scripts) & set(path.parts):
            said = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*[a-z](?![\w-])", path.read_text()))
            assert said <= known, path


def command(parser: Parser, name: str) -> Parser:
    (commands,) = parser._subparsers._group_actions
    return commands.choices[name]
