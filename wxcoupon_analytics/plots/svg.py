"""A plot as SVG text that stands alone: its letters are outlines, so it looks the same where no Chinese font is."""

from __future__ import annotations

import re
from html import escape
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wxcoupon_analytics.drawing import DARK, LIGHT

_ID = re.compile(r'(?<=\bid=")([^"]+)(?=")|(?<=href="#)([^"]+)(?=")|(?<=url\(#)([^)]+)(?=\))')


def svg_text(plot: Axes | Figure, *, name: str) -> str:
    """Write a plot as one ``<svg>`` element, to stand in an HTML page among others.

    Parameters
    ----------
    plot : Axes or Figure
    name : str
        Letters, digits and hyphens, another for each plot of the page: it begins every id, so that no two plots share one.

    Returns
    -------
    str
        The element, as wide as its place and in its own proportions, with the plot's title for screen readers. It loads
        nothing and holds no ground of its own. Ink, grey, grid and white are the CSS variables ``--plot-ink``,
        ``--plot-faint``, ``--plot-edge``, ``--plot-track`` and ``--plot-ground``, with the greys of a light page where
        a page sets none, whatever the plot's style. The same plot gives the same text.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import wxcoupon_analytics as wx
    >>> from wxcoupon_analytics.plots import plot_budget_use, svg_text
    >>> ax = plot_budget_use(wx.load_sample("stocks"), wx.load_sample("product_coupons"))
    >>> text = svg_text(ax, name="budget")
    >>> text[:9], "各批次预算发放进度" in text, "font-family" in text
    ('<svg role', True, False)
    >>> plt.close(ax.figure)
    """
    figure = plot if isinstance(plot, Figure) else plot.get_figure(root=True)
    assert figure is not None
    title = " · ".join(ax.get_title(loc="left") for ax in ([plot] if isinstance(plot, Axes) else figure.axes))
    text = StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    element = text.getvalue()
    element = element[element.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = _ID.sub(lambda found: f"{name}-{found[0]}", element)
    for name_of, light, dark in zip(LIGHT._fields, LIGHT, DARK, strict=True):
        element = re.sub(rf"(?<=: )({light}|{dark})\b", f"var(--plot-{name_of}, {light})", element, flags=re.IGNORECASE)
    label = escape(title.replace(r"\$", "$"))
    width, height = figure.get_size_inches() * 72
    opening = (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:g} {height:g}" style="max-width:100%;height:auto" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"<svg\b[^>]*>", lambda _: opening, element, count=1)
