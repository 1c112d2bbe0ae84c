"""Fitted estimators to a single ``.npz`` file and back, without pickle.

Every fitted attribute and every array among the constructor parameters is a
member of the archive under its own name; those that were rounded to float32 as
they were before. Its line of JSON holds format version, class, the names of
the rounded, and the other constructor parameters.

Must never know: data, engines, sources.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash import __version__
from emdash.archive import Arrays, Kind, read_archive, write_archive
from emdash.estimators._rounded import exact, rounded, set_attributes
from emdash.priors import NormalInverseWishart
from emdash.progress import from_table, to_table

__all__ = ["load", "save"]

FORMAT = 1
"""Version of the layout. Raise it when files can no longer be read by the emdash before."""

MODEL = Kind(
    "model",
    "models are written by emdash.save",
    "emdash",
    {"format": int, "class": str, "version": str, "parameters": dict},
)
NOT_SAVED = ("callback", "checkpoint")

Layout = dict[str, tuple[str, tuple[int, ...]]]


def _mixture_layout(model: Any, arrays: Arrays) -> Layout:
    """Return kind and shape of every fitted attribute of a Gaussian mixture.

    Parameters
    ----------
    model : GaussianMixture
        Its constructor parameters count, not its attributes.
    arrays : mapping
        The attributes.
    """
    K, d = arrays["means_"].shape
    covariances = ("f", model._shape.array_shape(K, d))
    if HISTORY in arrays:
        from_table(arrays[HISTORY])  # raises, if it is no table of passes
    return {
        "weights_": ("f", (K,)),
        "means_": ("f", (K, d)),
        "covariances_": covariances,
        "precisions_": covariances,
        "precisions_cholesky_": covariances,
        "converged_": ("b", ()),
        "n_iter_": ("i", ()),
        "lower_bound_": ("f", ()),
        "lower_bounds_": ("f", (int(arrays["n_iter_"]),)),
        "history_": ("V", (int(arrays["n_iter_"]),)),
        "n_features_in_": ("i", ()),
        "feature_names_in_": ("U", (d,)),
    }


CLASSES: dict[str, tuple[str, Callable[[Any, Arrays], Layout]]] = {
    "GaussianMixture": ("emdash.estimators.mixtures", _mixture_layout),
}
"""The registry, one line per estimator: its module and what its fitted attributes must be."""

OPTIONAL = ("feature_names_in_", "history_")  # a fit of scikit-learn has no history
LISTS = ("lower_bounds_",)
HISTORY = "history_"


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to one file, without pickle.

    The file is complete or not there: it is written beside `path` and moved
    into place at the end. `path` is taken as it is, nothing is appended to it.

    Parameters
    ----------
    model : estimator
        Fitted. Everything is kept except a `callback`, a `checkpoint`, and a `random_state`
        that is not an int (None is loaded in its place).
    path : str or path-like
        Where to write, by custom ``something.npz``; replaced if it exists.

    Raises
    ------
    TypeError
        If the class of `model` is not one of emdash's estimators.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        If parameters were changed after the fit, so that they no longer agree with it.

    Examples
    --------
    >>> import emdash, numpy as np, os, tempfile
    >>> X = np.array([[1.0], [2.0], [8.0], [9.0]])
    >>> model = emdash.GaussianMixture(2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     emdash.save(model, path)
    ...     again = emdash.load(path)
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    """
    from sklearn.utils.validation import check_is_fitted

    name = type(model).__name__
    if name not in CLASSES or type(model) is not _class(name):
        raise TypeError(
            f"cannot save a {type(model).__module__}.{name}: "
            f"expected one of {', '.join(CLASSES)} of emdash"
        )
    check_is_fitted(model)
    changed = "cannot save after parameters were changed (fit again)"
    try:
        parameters, arrays = _parameters(model)
        attributes = _attributes(model)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{changed}: an attribute is no array of numbers ({error})") from None
    _check(model, attributes, changed)
    header = {"format": FORMAT, "class": name, "version": __version__, "parameters": parameters}
    if rounded(model):  # the file holds what they were rounded from
        header["float32"] = rounded(model)
        attributes.update({name: exact(model, name) for name in rounded(model)})
    write_archive(path, MODEL, header, {**arrays, **attributes})


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that :func:`save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator
        Fitted; it predicts bitwise what the saved one did, and can be cloned or
        fitted on with ``warm_start=True``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model of emdash, is damaged, or was written by a newer emdash.
    """
    path = Path(path)
    header, members = read_archive(path, MODEL)
    if header["format"] > FORMAT:
        raise ValueError(
            f"{path} was written by emdash {header['version']} in format {header['format']}, but "
            f"emdash {__version__} reads formats up to {FORMAT}: upgrade emdash"
        )
    if header["class"] not in CLASSES:
        raise ValueError(
            f"{path} holds a {header['class']!r} written by emdash {header['version']}, which "
            f"emdash {__version__} does not have (it has {', '.join(CLASSES)}): upgrade emdash"
        )
    cls = _class(header["class"])
    names = cls().get_params(deep=False)
    parameters = {**header["parameters"], **{n: members[n] for n in names if n in members}}
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        raise ValueError(
            f"{path} sets the parameter {unknown[0]!r}, which {cls.__name__} of emdash "
            f"{__version__} does not have: upgrade emdash"
        )
    if isinstance(parameters.get("prior"), dict):
        parameters["prior"] = NormalInverseWishart.of(parameters["prior"])
    model = cls(**parameters)
    model._validate_params()
    attributes = {name: array for name, array in members.items() if name.endswith("_")}
    _check(model, attributes, f"{path} is damaged")
    for name, array in attributes.items():
        setattr(model, name, _value(name, array))
    single = header.get("float32", [])
    if not isinstance(single, list) or not attributes.keys() >= set(map(str, single)):
        raise ValueError(f"{path} is damaged: float32 attributes {single!r} that it does not hold")
    if single:
        set_attributes(model, {name: attributes[name] for name in single}, np.dtype(np.float32))
    return model


def _class(name: str) -> Any:
    return getattr(import_module(CLASSES[name][0]), name)


def _parameters(model: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the constructor parameters: those for JSON, and the arrays."""
    plain: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in model.get_params(deep=False).items():
        if isinstance(value, np.generic):
            value = value.item()
        if name in NOT_SAVED or (name == "random_state" and not isinstance(value, int)):
            continue
        if value is None or isinstance(value, bool | int | float | str):
            plain[name] = value
        elif isinstance(value, NormalInverseWishart):
            plain[name] = value.plain()
        else:
            arrays[name] = np.asarray(value, dtype=np.float64)
    return plain, arrays


def _attributes(model: Any) -> dict[str, NDArray[Any]]:
    """Return the fitted attributes as arrays without Python objects."""
    arrays = {
        name: to_table(value) if name == HISTORY else np.asarray(value)
        for name, value in vars(model).items()
        if name.endswith("_") and not name.startswith("_")
    }
    return {n: a.astype(str) if a.dtype.kind == "O" else a for n, a in arrays.items()}


def _value(name: str, array: NDArray[Any]) -> Any:
    """Return a fitted attribute as the type it had before it became an array."""
    if name == HISTORY:
        return from_table(array)
    if array.ndim == 0 or name in LISTS:
        return array.tolist()
    return array.astype(object) if array.dtype.kind == "U" else array


def _check(model: Any, attributes: Arrays, what: str) -> None:
    """Refuse fitted attributes that are missing, unknown, or do not agree with each other.

    Raises
    ------
    ValueError
        Beginning with `what`.
    """
    try:
        layout = CLASSES[type(model).__name__][1](model, attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{what}: its fitted attributes make no model ({error!r})") from None
    wrong = (set(layout) ^ set(attributes)) - set(OPTIONAL)
    if wrong:
        raise ValueError(f"{what}: unexpected or missing attribute {min(wrong)}")
    for name, array in attributes.items():
        kind, shape = layout[name]
        if array.dtype.kind != kind or array.shape != shape:
            raise ValueError(
                f"{what}: {name} has dtype {array.dtype} and shape {array.shape}, "
                f"expected shape {shape} of kind {kind!r}"
            )
    if attributes["n_features_in_"] != attributes["means_"].shape[1]:
        raise ValueError(f"{what}: n_features_in_ and means_ differ in the number of columns")
