"""A report as one HTML file: no script, no request, prints well.

In: parts of HTML.  Out: the whole page, with its style inside. What the audit's report and the plan's have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from noclone import __version__

NUMBER = re.compile(r"[0-9.,]+%?")


def document(title: str, parts: Iterable[str], closing: str) -> str:
    """Return a page.

    Args:
        title: Of the window; plain text, as is `closing`.
        parts: HTML; empty ones are left out.
    """
    style = (resources.files("noclone.page") / "page.css").read_text(encoding="utf-8")
    footer = f"<footer>noclone {escape(__version__)}. {escape(closing)}</footer>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in (*parts, footer) if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, body: str) -> str:
    """Return a section; `body` is HTML."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain text."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    kind = ' class="number"' if NUMBER.fullmatch(text) else ""  # not to be broken between its digits
    return f"<td{kind}>{escape(text)}</td>"


def listing(items: Iterable[str]) -> str:
    """Return a list of plain text."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def figure(svg: str, legend: str) -> str:
    """Return a picture with what its signs mean."""
    return f"<figure>{svg}<figcaption>{escape(legend)}</figcaption></figure>"
