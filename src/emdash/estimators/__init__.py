"""Estimators: scikit-learn's interface over models, sources and engines."""
