"""The loop, on maps that have nothing to do with mixtures."""

from __future__ import annotations

import math

import pytest

from emdash.em import Fit, Stop, em


def halving(value):
    """Map x to x / 2, with objective -x: it changes by half of what it changed before."""
    return value / 2, -value


def test_stops_when_the_change_falls_below_the_tolerance():
    fit = em(halving, 1.0, Stop(tolerance=0.1, max_iter=100))
    # objectives -1, -1/2, -1/4, -1/8, -1/16: the last change is 1/16, the one before 1/8
    assert fit.trace == [-1.0, -0.5, -0.25, -0.125, -0.0625]
    assert fit.parameters == 1 / 32
    assert fit.converged
    assert fit.n_iter == 5


def test_tolerance_itself_is_not_small_enough():
    assert em(halving, 1.0, Stop(tolerance=0.0625, max_iter=100)).n_iter == 6


def test_a_fall_counts_like_a_rise():
    fit = em(lambda x: (x / 2, x), 1.0, Stop(tolerance=0.1, max_iter=100))
    assert (fit.n_iter, fit.converged) == (5, True)


def test_zero_tolerance_is_never_met():
    fit = em(lambda x: (x, 0.0), "same", Stop(tolerance=0.0, max_iter=7))
    assert (fit.n_iter, fit.converged, fit.parameters) == (7, False, "same")


def test_stops_at_the_largest_number_of_steps():
    fit = em(halving, 1.0, Stop(tolerance=0.0, max_iter=3))
    assert (fit.n_iter, fit.converged, fit.parameters) == (3, False, 1 / 8)


def test_no_steps_returns_the_start_untouched():
    def step(value):
        raise AssertionError("no step was asked for")

    start = object()
    fit = em(step, start, Stop(tolerance=1.0, max_iter=0))
    assert fit.parameters is start
    assert (fit.trace, fit.converged, fit.n_iter) == ([], False, 0)


def test_first_step_never_converges_by_itself():
    fit = em(lambda x: (x, 5.0), 0, Stop(tolerance=1e9, max_iter=10))
    assert fit.n_iter == 2


def test_first_step_is_compared_with_an_earlier_fit():
    fit = em(lambda x: (x, 5.0), 0, Stop(tolerance=1e-3, max_iter=10), previous=5.0)
    assert (fit.n_iter, fit.converged) == (1, True)
    assert em(lambda x: (x, 5.0), 0, Stop(1e-3, 10), previous=4.0).n_iter == 2


def test_every_step_is_told_with_the_fit_so_far():
    seen = []

    def note(fit):
        assert isinstance(fit, Fit)
        seen.append((fit.n_iter, fit.parameters, fit.trace[-1], fit.converged))

    em(halving, 1.0, Stop(tolerance=0.3, max_iter=100), on_step=note)
    assert seen == [(1, 0.5, -1.0, False), (2, 0.25, -0.5, False), (3, 0.125, -0.25, True)]


def test_step_sees_what_the_step_before_made():
    given = []

    def step(value):
        given.append(value)
        return value + 1, math.inf

    em(step, 0, Stop(tolerance=0.0, max_iter=4))
    assert given == [0, 1, 2, 3]


def test_nan_does_not_pass_for_convergence():
    fit = em(lambda x: (x, math.nan), 0, Stop(tolerance=1e9, max_iter=4))
    assert (fit.n_iter, fit.converged) == (4, False)


def test_errors_come_through():
    def step(value):
        raise RuntimeError("the mathematics failed")

    with pytest.raises(RuntimeError, match="mathematics"):
        em(step, 0, Stop(1.0, 1))


def test_stop_cannot_be_changed():
    with pytest.raises(AttributeError):
        Stop(1.0, 1).max_iter = 2  # type: ignore[misc]


@pytest.mark.parametrize("passes", range(6))
def test_an_interrupted_loop_goes_on(passes):
    whole = em(halving, 1.0, Stop(tolerance=0.1, max_iter=100))
    part = em(halving, 1.0, Stop(tolerance=0.1, max_iter=passes))
    seen = []
    rest = em(
        halving,
        part.parameters,
        Stop(tolerance=0.1, max_iter=100),
        trace=part.trace,
        on_step=lambda fit: seen.append(fit.n_iter),
    )
    assert (rest.parameters, rest.trace, rest.converged) == (whole.parameters, whole.trace, True)
    assert seen == list(range(passes + 1, 6))  # none, if it had converged already


def test_steps_before_count_towards_the_largest_number():
    fit = em(halving, 0.125, Stop(tolerance=0.0, max_iter=4), trace=[-1.0, -0.5, -0.25])
    assert fit.trace == [-1.0, -0.5, -0.25, -0.125]
    assert not fit.converged


def test_change_is_against_the_step_before():
    fit = em(halving, 1.0, Stop(tolerance=0.0, max_iter=1), previous=-3.0)
    assert fit.change == 2.0
    assert em(halving, 1.0, Stop(0.0, 3)).change == 0.25
    assert math.isinf(em(halving, 1.0, Stop(0.0, 1)).change)


@pytest.mark.parametrize(("jumping", "steps"), [(None, 2), (1, 3), (2, 4)])
def test_a_step_that_jumps_does_not_end_the_loop_nor_does_the_next(jumping, steps):
    jumps, taken = set(), 0

    def step(value):
        nonlocal taken
        taken += 1
        if taken == jumping:
            jumps.add(taken)
        return value, 0.0

    fit = em(step, "same", Stop(tolerance=1.0, max_iter=10), jumps=jumps)
    assert (fit.n_iter, fit.converged) == (steps, True)


def test_jumps_of_before_count_when_a_loop_goes_on():
    fit = em(halving, 1.0, Stop(tolerance=9.0, max_iter=10), trace=[-1.0, -1.0], jumps={2})
    assert fit.n_iter == 4
