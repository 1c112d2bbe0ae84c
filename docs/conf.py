"""Sphinx configuration: ``sphinx-build -W -n --keep-going docs docs/_build``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import emdash

project = "emdash"
author = "the emdash developers"
copyright = f"2026, {author}"
version = release = emdash.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
exclude_patterns = ["_build", "changes/*"]

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # types, with their shapes, are in the numpydoc sections
autosummary_generate = True
numpydoc_show_class_members = False  # the template of classes lists them
templates_path = ["_templates"]

# Other projects' names are set in code type, not linked: a build that asks four
# servers for their indexes fails whenever one of them does.
nitpick_ignore_regex = [("py:.*", r"(numpy|sklearn|dask|distributed|collections)\..*")]
# Short names in docstrings: not documented apart, or cited on a page of another module.
nitpick_ignore = [("py:func", "center_of"), ("py:data", "HEADER"), ("py:class", "Statistics")]

html_theme = "pydata_sphinx_theme"
html_title = "emdash"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 8,
}


def cite(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any, **__: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Give Markdown pages the citation that docstrings write as ``[Key]_``."""
    return [nodes.citation_reference(rawtext, text)], []


def add_unreleased(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show the fragments of the next release at the top of the list of changes."""
    if docname != "changes":
        return
    draft = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "Unreleased"],
        cwd=Path(app.srcdir).parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    draft = re.sub(r"^## Unreleased \(.*\)$", "## Unreleased", draft, flags=re.MULTILINE)
    start = "<!-- towncrier release notes start -->\n"
    source[0] = source[0].replace(start, start + draft[draft.index("## Unreleased") :])


def setup(app: Sphinx) -> None:
    """Register what is defined above."""
    app.add_role("cite", cite)
    app.connect("source-read", add_unreleased)
