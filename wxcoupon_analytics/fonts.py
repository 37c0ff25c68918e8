"""Letters for the plots: a font that has Chinese, found without touching anyone's matplotlib settings.

matplotlib draws with DejaVu Sans, which has no Chinese, and its one remedy in common use is to overwrite rcParams, for
every figure of the session. Here each artist is given its font instead.
"""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, fontManager, get_font

# Of an OpenType collection (.ttc) matplotlib sees only the first face, so "Noto Sans CJK JP" stands for all of Noto CJK.
FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK JP",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
_FALLBACK = "DejaVu Sans"  # comes with matplotlib


def letters(size: float) -> FontProperties:
    """Give the font for any text, Chinese or not; each missing glyph falls back to the next family of the list."""
    return FontProperties(family=_families(), size=size)


def drawable(text: str) -> str:
    """Make any text safe to draw: no formula, one line, and a box in place of a letter that no font here has.

    Names of coupons may hold emoji, ``$`` and line breaks. matplotlib would warn about the first at every draw, and take
    what stands between two of the second for TeX.
    """
    line = " ".join(text.split())
    missing = {letter for letter in line if ord(letter) not in _glyphs()}
    if len(_families()) == 1 and any("\u2e80" <= letter <= "\uffef" for letter in missing):
        _warn_once()
    return "".join("\N{WHITE SQUARE}" if letter in missing else letter for letter in line).replace("$", r"\$")


@cache
def _families() -> list[str]:
    installed = {font.name for font in fontManager.ttflist}
    chinese = next((name for name in FAMILIES if name in installed), None) or _carried()
    return [chinese, _FALLBACK] if chinese else [_FALLBACK]


def _carried() -> str | None:
    """Register the font file inside zhplot, by looking for it only: importing zhplot would rewrite rcParams."""
    spec = importlib.util.find_spec("zhplot")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder, "fonts").glob("NotoSansSC*.[to]tf")):
            fontManager.addfont(path)
            return FontProperties(fname=path).get_name()
    return None


@cache
def _glyphs() -> frozenset[int]:
    paths = (fontManager.findfont(FontProperties(family=[name])) for name in _families())
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


@cache
def _warn_once() -> None:
    warnings.warn(
        "no font with Chinese letters is installed, so plots show boxes in their place: "
        "pip install 'wxcoupon-analytics[fonts]'",
        UserWarning,
        stacklevel=2,
    )
