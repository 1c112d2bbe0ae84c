"""Documentation that a program can hold against the code; its examples run as doctests."""

import re
from pathlib import Path

import pytest

import emdash
from emdash.cli import main
from emdash.families.covariance import SHAPES
from emdash.start import METHODS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
COMMANDS = ("pip install . && emdash demo", 'pip install ".[test]" && pytest')


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_has_the_command_on_a_line_of_its_own_and_ci_runs_it(command):
    assert command in (ROOT / "README.md").read_text("utf-8").splitlines()
    assert f"$(readme_command '{command}')" in (ROOT / ".ci/run").read_text("utf-8")


def test_every_public_name_is_in_the_reference():
    reference = (DOCS / "reference/index.md").read_text("utf-8")
    listed = set(re.findall(r"^   (\w+)$", reference, re.MULTILINE))
    assert listed == set(emdash.__all__) - {"__version__"}


def test_every_name_of_the_internals_page_exists():
    page = (DOCS / "reference/internals.md").read_text("utf-8")
    names = re.findall(r"^   ~(emdash[\w.]+)\.(\w+)$", page, re.MULTILINE)
    assert names
    for module, name in names:
        assert hasattr(__import__(module, fromlist=[name]), name), f"{module}.{name}"


def test_quickstart_shows_commands_that_exist():
    quickstart = (DOCS / "quickstart.md").read_text("utf-8")
    shown = set(re.findall(r"^emdash (\w+)", quickstart, re.MULTILINE))
    assert shown
    assert shown <= set(main.commands)


def test_formulas_name_every_shape_and_start():
    formulas = (DOCS / "formulas.md").read_text("utf-8")
    for name in METHODS:
        assert f"| `{name}` |" in formulas
    for name in SHAPES:
        assert rf"\text{{{name}}}" in formulas


def test_every_citation_is_in_the_bibliography():
    known = set(re.findall(r"^\.\. \[(\w+)\]", (DOCS / "references.md").read_text("utf-8"), re.M))
    cited = set()
    for page in DOCS.rglob("*.md"):
        cited |= set(re.findall(r"\{cite\}`(\w+)`", page.read_text("utf-8")))
    for source in (ROOT / "src").rglob("*.py"):
        cited |= set(re.findall(r"\[([A-Z][A-Za-z]+\d{4})\]_", source.read_text("utf-8")))
    assert cited == known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_changes_are_named_as_towncrier_expects():
    kinds = {"breaking", "feature", "speed", "fix"}
    for fragment in (DOCS / "changes").iterdir():
        assert re.fullmatch(r"(\d+|\+[a-z0-9-]+)\.(\w+)(\.\d+)?\.md", fragment.name), fragment.name
        assert fragment.name.split(".")[1] in kinds
