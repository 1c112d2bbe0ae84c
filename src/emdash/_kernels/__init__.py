"""Compiled kernels: rows in, sums out. They import nothing from the rest of the package."""
