"""The examples in the docstrings of the package run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import emdash

MODULES = sorted(info.name for info in pkgutil.walk_packages(emdash.__path__, "emdash."))
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples(name):
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder().find(module, name) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in examples(name):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_there_are_examples():
    """So that the test above has something to fail on."""
    assert sum(len(examples(name)) for name in MODULES) >= 5
