"""Regexes to bind outputs to, in what Rust's and Python's dialects have in common."""

import re

from hypothesis import strategies as st

REGEXES = (
    "a",
    "[0-9]+",
    "yes|no|maybe",
    r"\d{3}-\d{4}",
    r"(\+\d{1,2} )?\(\d{3}\) \d{3}-\d{4}",
    r"[a-z]+@[a-z]+\.(com|org)",
    r"[A-Z][a-z]*( [A-Z][a-z]*){0,2}",
    r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}",
    r"#(?:[0-9a-fA-F]{3}){1,2}",
    r"(?i:true|false)",
    r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?",
    r"\s*\w+\s*=\s*\w+",
    r"[^\s]{1,8}",
    r".{3,9}",
    r"(?s:.){3,9}",
    r"(ab|cd)*?e",
    r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])",
    "é+|日本(語)?",
    "[ぁ-ん]{2,4}",
    "😀{1,3}",
    "[A-ZÄÖÜ][a-zäöüß]+",
    r"a/b\/c",
    r'"[^"\\]*"',
    r"\x41\u0042",
    r"(a|(b(c|d)*)+)?x",
    "(a{1,20}){1,20}",
    r"[\[\]\\^-]+",
    r"\{\"k\": (1|2)\}",
    "",
    "(one|two|three)(, (one|two|three)){2}",
)


def regexes() -> st.SearchStrategy[str]:
    atoms = st.one_of(
        st.text("abcXYZ019 .,-_/\"'\\é日😀\n", min_size=1, max_size=4).map(re.escape),
        st.sampled_from(("[a-f]", "[^a-z]", r"\d", r"\w", "[0-9a-fA-F]", ".", "[é-ü]", r"[\w.]")),
    )
    return st.recursive(atoms, _combined, max_leaves=10)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = inner.map(lambda regex: f"(?:{regex})")
    repeats = st.sampled_from(("?", "*", "+", "{2}", "{1,3}", "*?", "{0,2}?"))
    return st.one_of(
        st.lists(groups, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(groups, repeats).map("".join),
    )
