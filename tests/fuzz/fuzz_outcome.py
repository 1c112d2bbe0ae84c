"""What may come of a call: an answer that is finite, or an error that one can act upon.

An error is actionable if its class is one of the documented ones, if it was raised on purpose
(by emdash or by a check of scikit-learn, not by whatever the bad value ran into), and if its
text is a sentence that names something the user gave.
"""

import io
import re
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from emdash import GaussianMixture
from emdash.families.singular import Collapse

ESTIMATORS = (GaussianMixture,)

ERRORS = (ValueError, TypeError, NotFittedError, InvalidParameterError, Collapse)
"""Exactly these classes: LinAlgError, for one, is a ValueError that nobody meant to raise."""

ERRORS_OF = {
    MemoryError: r"memory_limit allows",
    FileNotFoundError: r"No such file|there is no directory",
    IsADirectoryError: r"give the name of a file in it|Is a directory",
    ImportError: r"pip install",
}
"""Documented errors of other classes, and what their text has."""

WARNINGS = (
    (ConvergenceWarning, "did not converge|distinct clusters|Components collapsed"),
    (UserWarning, "columns of the Dask array X are in"),
    (UserWarning, "chunks of the Dask array X depend on each other"),
    (UserWarning, "feature names"),
    (UserWarning, "disagree; the covariances are used"),
)
"""Documented warnings: class and text."""

SHORTEST = 25
RAISED_BY = r"[/\\](emdash|sklearn[/\\](utils|base))\b"
ARGUMENTS = {"X", "fit", "memory map", "path", "columns", "n_samples", "feature names"}
ARGUMENTS |= {"sample_weight", "n_draws", "given", "features", "weights", "means", "covariances"}
ARGUMENTS |= {"precisions", "random_state"}
PLACES = {"row", "column", "component", "batch", "chunk", "shape", "array", "dtype", "attribute"}
INTERNAL = (
    "could not convert|argument must be",
    "Buffer|buffer|memoryview|contiguous",
    "broadcast|not aligned|inhomogeneous|setting an array element|ambiguous|zero-size",
    "leading minor|[Ss]ingular matrix|did not converge|infs or NaNs|must contain only finite",
    "object has no attribute|not supported between|unsupported operand|not subscriptable",
    "unexpected keyword|positional argument|not iterable|must be real number|unhashable",
    "out of bounds|out of range for|cannot reshape|invalid literal|ufunc|assert",
)
"""What NumPy, SciPy, Cython and Python say when they are handed something they did not expect."""


def named():
    """Return a pattern for what an error can name: arguments, parameters, places in a table."""
    parameters = {name for cls in ESTIMATORS for name in cls().get_params()}
    fitted = {"weights_", "means_", "covariances_", "precisions_cholesky_", "n_features_in_"}
    words = "|".join(ARGUMENTS | parameters | fitted | {f"{place}s?" for place in PLACES})
    return rf"(?i:\b({words})\b)|\w\(s\)|[/\\][\w.]+"  # "0 sample(s)", a path


def why_not_actionable(text):
    """Return what is wrong with the text of an error, or None."""
    if len(text) < SHORTEST:
        return f"shorter than {SHORTEST} characters"
    own = re.sub(r"\(.*\)", "()", text, flags=re.S)  # in brackets it may quote anybody
    for pattern in INTERNAL:
        if found := re.search(pattern, own):
            return f"speaks of internals: {found[0]!r}"
    if not re.search(named(), text):
        return "names nothing that the user gave"
    return None


def why_unexpected(error):
    """Return what is wrong with an error, or None."""
    if type(error) not in ERRORS:
        documented = ERRORS_OF.get(type(error))
        if documented is None or not re.search(documented, str(error)):
            return f"a {type(error).__name__} is not documented"
        return None
    last = traceback.extract_tb(error.__traceback__)[-1]
    if not re.search(RAISED_BY, last.filename):
        return f"raised in {last.filename}, line {last.lineno}, and not on purpose"
    return why_not_actionable(str(error))


def attempt(call, *arguments, **named_arguments):
    """Return (True, answer), or (False, error) if the error is actionable.

    Raises
    ------
    AssertionError
        If there is another error, or an undocumented warning.
    """
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stdout(io.StringIO()),  # of verbose
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            answer = call(*arguments, **named_arguments)
            if hasattr(answer, "dask"):
                answer = answer.compute()
    except Exception as error:
        wrong = why_unexpected(error)
        if wrong is not None:
            raise AssertionError(f"{wrong}: {type(error).__name__}: {error}") from error
        return False, error
    for warning in caught:
        documented = any(
            issubclass(warning.category, category) and re.search(pattern, str(warning.message))
            for category, pattern in WARNINGS
        )
        assert documented, f"{warning.category.__name__}: {warning.message} ({warning.filename})"
    return True, answer


# ------------------------------------------------------------------ answers


def check_model(model):
    """Check that every fitted attribute is finite, and that the weights are weights."""
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"):
        value = getattr(model, name)
        assert np.isfinite(value).all(), f"{name} is {value}"
    assert (model.weights_ >= 0).all()
    assert (
        abs(model.weights_.sum() - 1)
        < 10 * len(model.weights_) * np.finfo(model.weights_.dtype).eps
    )
    K = model.n_components
    least = 1 if model.on_collapse == "drop" else K
    assert least <= len(model.means_) <= K
    assert model.means_.shape[1] == model.n_features_in_
    bounds = np.array(model.lower_bounds_)
    assert np.isfinite(bounds).all(), f"lower_bounds_ is {bounds}"
    assert len(bounds) == len(model.history_) == model.n_iter_


def is_scalar(model, answer):
    assert isinstance(answer, float)
    assert not np.isnan(answer)


def are_labels(model, answer):
    assert answer.dtype == np.intp
    assert answer.ndim == 1
    assert ((answer >= 0) & (answer < len(model.means_))).all()


def are_probabilities(model, answer):
    assert answer.shape[1:] == (len(model.means_),)
    assert ((answer >= 0) & (answer <= 1 + 1e-9)).all()  # NaN is neither
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-6)


def are_logarithms(model, answer):
    assert answer.ndim == 1
    assert not np.isnan(answer).any()
    assert (answer < np.inf).all()  # -inf: farther away than a float64 can say


def is_filled(model, answer):
    rows = np.asarray(answer)
    assert rows.shape[-1] == np.shape(model.means_)[1]
    assert np.isfinite(rows).all()


QUESTIONS = {
    "predict": are_labels,
    "predict_proba": are_probabilities,
    "score_samples": are_logarithms,
    "score": is_scalar,
    "aic": is_scalar,
    "bic": is_scalar,
    "impute": is_filled,
    "sample_missing": is_filled,
}
"""The methods that take rows, and what their answer must be."""


def is_sample(model, answer):
    X, y = answer
    assert np.isfinite(X).all()
    assert X.shape == (len(y), model.means_.shape[1])
    are_labels(model, y)
