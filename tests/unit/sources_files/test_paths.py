"""Paths that lead to no table, or to several, are refused with what is there."""

import json
import subprocess
import sys

import numpy as np
import pytest
import zarr
from stored_files import check, in_csv, in_feather, in_hdf5, in_parquet, in_zarr

from emdash.sources import open_source
from emdash.sources.paths import FORMATS


def test_what_is_not_there(tmp_path):
    for suffix in FORMATS:
        for name in ("none", "none/deeper"):
            with pytest.raises(FileNotFoundError):
                open_source(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("suffix", sorted(FORMATS.keys() - {".csv", ".tsv", ".zarr"}))
def test_what_is_something_else(suffix, tmp_path):
    (tmp_path / f"X{suffix}").write_text("1,2\n3,4\n")
    name = f"X{suffix}" + ("::X" if suffix in (".h5", ".hdf5", ".hdf") else "")
    with pytest.raises(ValueError, match=rf"X\{suffix} is not an? "):
        open_source(str(tmp_path / name))


def test_groups_name_what_they_hold(X, tmp_path):
    path = in_hdf5(X, tmp_path)
    file = path.partition("::")[0]
    for name in (file, f"{file}::deep", f"{file}::other"):
        with pytest.raises(ValueError, match=r"names no dataset.*X\.h5::deep/X"):
            open_source(name)
    group = zarr.open_group(tmp_path / "group", mode="w")
    group.create_array("deep/X", data=X)
    with pytest.raises(ValueError, match=r"is a Zarr group.*group::deep/X"):
        open_source(f"{tmp_path / 'group'}::deep")
    check(open_source(f"{tmp_path / 'group'}::deep/X"), X)
    with pytest.raises(ValueError, match="is not a Zarr array"):
        open_source(f"{tmp_path / 'group'}::deep/Y")


def test_files_that_do_not_belong_together(X, tmp_path):
    np.save(tmp_path / "1.npy", X)
    for other in (X[:, :2], X.astype("f4")):
        np.save(tmp_path / "2.npy", other)
        with pytest.raises(ValueError, match=r"2\.npy has .* but .*1\.npy has 3 columns"):
            open_source([tmp_path / "1.npy", tmp_path / "2.npy"])
    in_parquet(X, tmp_path)
    with pytest.raises(ValueError, match="several formats"):
        open_source(tmp_path)


def test_shapes_and_types_that_are_no_tables(X, tmp_path):
    for bad, message in (
        (X[:, 0], r"shape \(96,\)"),
        (X[:, :, None], r"shape \(96, 3, 1\)"),
        (X.astype(complex), "complex128"),
        (X.astype("S8"), "dtype"),
    ):
        for make in (in_zarr, in_hdf5)[bad.dtype.kind == "S" :]:  # Zarr 3 has no type for these
            folder = tmp_path / f"{make.__name__}{bad.dtype}{bad.ndim}"
            folder.mkdir()
            how = {"chunks": bad.shape} if make is in_zarr else {}
            with pytest.raises(ValueError, match=message):
                open_source(make(bad, folder, **how))


def test_a_missing_library_is_named_with_its_extra(X, tmp_path):
    """In a process of its own where none of the optional libraries can be imported."""
    paths = [in_zarr(X, tmp_path), in_hdf5(X, tmp_path), in_parquet(X, tmp_path)]
    paths += [in_feather(X, tmp_path), in_csv(X, tmp_path)]
    code = """
import json, sys
for name in ("zarr", "h5py", "pyarrow", "pandas", "polars", "xarray"):
    sys.modules[name] = None
import emdash
messages = []
for path in sys.argv[1:]:
    try:
        emdash.open_table(path)
    except ImportError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    messages = json.loads(run.stdout)
    for message, library in zip(messages, ["zarr", "h5py", *3 * ["pyarrow"]], strict=True):
        assert f"needs {library} " in message
        assert "pip install 'emdash[io]'" in message
