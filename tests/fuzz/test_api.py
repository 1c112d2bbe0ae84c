"""Whatever is given to the public interface: a finite model, or an error one can act upon."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fuzz_outcome import ESTIMATORS, QUESTIONS, attempt, check_model, is_sample
from fuzz_parameters import ARGUMENTS, arguments_of, parameters
from fuzz_profiles import PROFILE, share
from fuzz_tables import tables, values
from hypothesis import given, note
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.utils.validation import _is_fitted

import emdash
from emdash import GaussianMixture

COLUMNS = st.sampled_from([1, 2, 3, 3, 8])
SAMPLES = st.sampled_from([1, 5, 0, -1, 1.5, None, "word", np.nan, 10**3, np.int8(3), True])


def give(data, method, X):
    """Call a method with rows, and with something for whatever else it takes."""
    n = len(X) if isinstance(X, np.ndarray | pd.DataFrame | pl.DataFrame) and np.ndim(X) else 3
    names = [name for name in arguments_of(method) if name in ARGUMENTS]
    chosen = {name: ARGUMENTS[name](n) for name in names}
    return attempt(method, X, **data.draw(st.fixed_dictionaries({}, optional=chosen)))


def ask(data, model, folder, d):
    """Ask a fitted model this and that about other rows."""
    names = sorted(name for name in QUESTIONS if hasattr(model, name))
    for name in data.draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        note(f"{name}:")
        answered, answer = give(data, getattr(model, name), data.draw(tables(folder, d)))
        if answered:
            QUESTIONS[name](model, answer)
    if data.draw(st.booleans()):
        drawn, answer = attempt(model.sample, data.draw(SAMPLES))
        if drawn:
            is_sample(model, answer)


@PROFILE
@given(data=st.data())
def test_any_table_and_any_parameters(data, folder):
    estimator = data.draw(st.sampled_from(ESTIMATORS))
    d = data.draw(COLUMNS)
    settings = data.draw(parameters(estimator, d))
    note(f"{settings}")
    model = estimator(**settings)
    for _ in range(data.draw(st.integers(1, 2))):
        if data.draw(st.integers(0, 7)) == 0:  # between fits, or before the first
            ask(data, model, folder, d)
        X = data.draw(tables(folder, d))
        if data.draw(st.integers(0, 7)) == 0:
            opened, source = attempt(emdash.open_table, X)
            X = source if opened else X
        method = data.draw(st.sampled_from(["fit", "fit", "fit_predict"]))
        fitted, answer = give(data, getattr(model, method), X)
        note(f"{method}: {answer!r}")
        if fitted and method == "fit_predict":
            QUESTIONS["predict"](model, answer)
        if _is_fitted(model):
            check_model(model)
            ask(data, model, folder, d)


FACTORS = {"full": (2, 3, 3), "tied": (3, 3), "diag": (2, 3), "spherical": (2,)}
GOOD = {"weights_": np.full(2, 0.5), "means_": np.array([[0.0, 0, 0], [9, 9, 9]])}
ODD = st.sampled_from([None, "word", [], {}, -1, np.nan, [[1.0], [1.0, 2.0]], np.eye(2) * 1j])


@st.composite
def attributes(draw, covariance_type):
    """Draw attributes of two components in three dimensions, most of them good."""
    shape = FACTORS[covariance_type]
    units = (
        np.ones(shape) if covariance_type in ("diag", "spherical") else np.eye(3) + np.zeros(shape)
    )
    chosen = {**GOOD, "precisions_cholesky_": units}
    for name in draw(st.lists(st.sampled_from(sorted(chosen)), max_size=2, unique=True)):
        what = draw(st.sampled_from(["scaled", "values", "shape", "odd", "left out"]))
        if what == "scaled":
            chosen[name] = chosen[name] * draw(st.sampled_from([0, -1, 3, 1e-200, 1e200]))
        elif what == "values":
            chosen[name] = values(draw, chosen[name].shape)
        elif what == "shape":
            chosen[name] = values(draw, draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)))
        elif what == "odd":
            chosen[name] = draw(ODD)
        else:
            del chosen[name]
    if draw(st.integers(0, 3)) == 0:
        chosen["covariances_"] = values(draw, shape)
    return chosen


FEATURES = st.lists(st.sampled_from([0, 1, 2, 3, -1, 0.0, True, "x", None, np.int8(1)]), max_size=3)
GIVEN = st.floats(-3, 3) | st.floats() | st.sampled_from([None, "word", 1j, [1.0]])


@share(1 / 3)
@given(data=st.data())
def test_any_given_parameters(data, folder):
    covariance_type = data.draw(st.sampled_from(sorted(FACTORS)))
    given = data.draw(attributes(covariance_type))
    name = data.draw(st.sampled_from(["covariances", "precisions"]))
    keywords = {name: given.get("precisions_cholesky_")}
    keywords["covariance_type"] = data.draw(st.sampled_from([None, covariance_type, "full"]))
    made, model = attempt(
        GaussianMixture.from_parameters, given.get("weights_"), given.get("means_"), **keywords
    )
    if made:
        check_model(model)
        ask(data, model, folder, model.n_features_in_)
        part = [
            attempt(model.marginal, data.draw(FEATURES)),
            attempt(model.conditional, data.draw(st.dictionaries(st.integers(-1, 3), GIVEN))),
        ]
        for found, mixture in part:
            if found:
                check_model(mixture)
        assert attempt(model.to_sklearn)[0]


@share(1 / 3)
@given(data=st.data())
def test_any_attributes_set_by_hand(data, folder):
    covariance_type = data.draw(st.sampled_from(sorted(FACTORS)))
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
    for name, value in data.draw(attributes(covariance_type)).items():
        note(f"{name} = {value!r}")
        setattr(model, name, value)
    ask(data, model, folder, 3)
    if data.draw(st.booleans()):
        attempt(emdash.save, model, folder / "model.npz")


@pytest.fixture(scope="module")
def fitted():
    X = np.random.default_rng(0).normal(size=(40, 3))
    return GaussianMixture(2, random_state=0).fit(X)


@share(1 / 3)
@given(data=st.data())
def test_any_damage_to_a_saved_model(data, folder, fitted):
    path = folder / "saved.npz"
    emdash.save(fitted, path)
    whole = path.read_bytes()
    first = data.draw(st.integers(0, len(whole) - 1))
    last = data.draw(st.integers(first, min(len(whole), first + 40)))
    path.write_bytes(whole[:first] + data.draw(st.binary(max_size=40)) + whole[last:])
    loaded, model = attempt(emdash.load, path)
    if loaded:
        check_model(model)
        ask(data, model, folder, 3)


@share(1 / 10)
@given(data=st.data())
def test_any_choice_of_columns(data, folder):
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=["x", "y", "z"])
    X = data.draw(st.sampled_from([frame, pl.from_pandas(frame), frame.to_numpy()]))
    names = st.lists(st.sampled_from(["x", "y", "z", "w", 0, None]), max_size=3)
    columns = data.draw(st.one_of(names, st.sampled_from(["x", 0, {}, object(), "xyz"])))
    opened, table = attempt(emdash.open_table, X, columns)
    if opened:
        model = GaussianMixture(1, random_state=0)
        fitted, _ = attempt(model.fit, table)
        if fitted:
            check_model(model)
