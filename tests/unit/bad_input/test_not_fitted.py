"""A model that was not fitted says so, and a fit that fails leaves it as it was."""

import numpy as np
import pandas as pd
import pytest
from bad_inputs import D, K, start
from sklearn.exceptions import NotFittedError

from emdash import GaussianMixture


@pytest.mark.parametrize("bad", [[[1.0], [np.inf]], [[1.0]], [["a"], ["b"]]])
@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_a_fit_that_fails_leaves_no_trace(X, bad, method):
    model = GaussianMixture(K, **start())
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"X|sample"):
        getattr(model, method)(bad)
    assert vars(model) == before
    with pytest.raises(NotFittedError):
        model.predict(X)
    expected = model.fit(X).predict(X)
    fitted = dict(vars(model))
    with pytest.raises(ValueError, match=r"X|sample"):
        getattr(model, method)(pd.DataFrame(bad, columns=["other"]))
    assert vars(model) == fitted
    np.testing.assert_array_equal(model.predict(X), expected)


def test_the_number_of_columns_alone_is_no_fit(X):
    model = GaussianMixture(K)
    model.n_features_in_ = D
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        model.score(X)


def test_not_fitted(source, X):
    from sklearn.exceptions import NotFittedError

    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(GaussianMixture(K), method)(source(X))
