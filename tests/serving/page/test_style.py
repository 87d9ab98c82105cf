"""Contrast of the colours, computed from the variables of the style sheet as WCAG 2.2 defines it."""

import re

import pytest

pytest.importorskip("fastapi")
from medley.serving.http.page.answers import FOLDER

CSS = (FOLDER / "static" / "page.css").read_text()
ROOTS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
LIGHT, DARK = (dict(re.findall(r"--(\w[\w-]*): (#\w{6})", root)) for root in ROOTS)
TEXT = [(ink, ground) for ink in ("ink", "soft", "accent", "good") for ground in ("paper", "card", "tint")]
SHAPES = [(shape, ground) for shape in ("edge", *(f"m{n}" for n in range(5))) for ground in ("paper", "card")]
SHAPES += [(f"q{n}", "card") for n in range(5)]


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted([_luminance(one), _luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_that_of_the_guideline():
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_shapes_can_be_told_from_their_ground(theme):
    assert theme.keys() == LIGHT.keys()
    assert {pair: c for pair in TEXT if (c := _contrast(theme[pair[0]], theme[pair[1]])) < 4.5} == {}
    assert {pair: c for pair in SHAPES if (c := _contrast(theme[pair[0]], theme[pair[1]])) < 3} == {}
    assert _contrast(theme["on-accent"], theme["accent"]) >= 4.5


def test_letters_can_be_read_on_every_pattern():
    hues = re.findall(r"\.h\d rect \{ fill: (#\w{6}); \}", CSS)
    assert len(hues) == 8
    lightest = [f"#{''.join(f'{round(c + 0.2256 * (255 - c)):02x}' for c in bytes.fromhex(h[1:]))}" for h in hues]
    assert min(_contrast("#ffffff", each) for each in lightest) >= 3  # large letters, over both circles: 1 - 0.88²


def test_nothing_is_loaded_from_elsewhere_and_no_style_or_script_is_inline():
    for path in FOLDER.rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text()
            assert not re.search(r"https?://|@import|url\(", text), path.name
            assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", text), path.name
            assert not re.search(r"\|\s*safe|innerHTML|insertAdjacentHTML|document\.write", text), path.name
