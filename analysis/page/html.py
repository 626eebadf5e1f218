"""The page as HTML: one file that loads nothing. The templates lay out ``page.Page`` and decide nothing."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.page.page import Page

_TEMPLATES = Path(__file__).with_name("templates")
_CODE = re.compile(r"`([^`]+)`")


def render_page(page: Page) -> str:
    """The HTML of the page. Whatever the records hold appears as text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template("report.html").render(page=page)


def prose(text: str) -> Markup:
    """Text in which what stands in backticks is code, and a long command may break after its words."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
