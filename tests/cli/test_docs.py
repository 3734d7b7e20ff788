import re
from pathlib import Path

from docs.generate_options import page
from sgjax.config_sources import shipped_configs

ROOT = Path(__file__).resolve().parents[2]


def test_options_page_is_current():
    assert (ROOT / "docs" / "options.md").read_text() == page(), "run `make docs`"


def test_links_between_our_pages_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


def test_readme_s_first_screen_has_the_two_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:40]
    assert "make serve" in "\n".join(first) and "make test" in "\n".join(first)


def test_every_shipped_config_says_what_it_is_for():
    for path in shipped_configs().glob("*.yaml"):
        assert path.read_text().startswith("# "), path
