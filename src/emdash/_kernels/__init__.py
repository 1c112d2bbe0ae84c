"""Compiled kernels: one fused pass over tiles of rows per EM iteration.

Imports nothing from the rest of the package.
"""
