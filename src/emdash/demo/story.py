"""The demo from beginning to end, told to the user step by step."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from emdash import GaussianMixture, Pass, save
from emdash.demo.cluster import Meter, connect, resident, total_limit, warm
from emdash.demo.colour import lab_to_rgb
from emdash.demo.compare import differences
from emdash.demo.figures import draw_convergence, draw_segmentation
from emdash.demo.photographs import (
    COLUMNS,
    FINEST,
    NAMES,
    features,
    photograph,
    scales,
    write_table,
)

__all__ = ["PASSES", "PROMISED", "run"]

PASSES = 10
"""A fixed number, so that the demo takes as long everywhere and both fits do the same work."""

PROMISED = 1e-10
"""Largest relative difference between two chunkings of the same rows that emdash allows."""

REG_COVAR = 1e-4
"""Added to the variances: the square of 0.01, the noise of 8-bit colours."""

SPARE_BYTES = 500_000_000
"""Memory needed beside the table for the comparison."""


def run(
    n_rows: int,
    n_components: int,
    output: Path,
    *,
    scheduler: str | None = None,
    seed: int = 0,
    keep: bool = False,
) -> float:
    """Run the demo and print what happens.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    n_components : int
        Components of the mixture.
    output : Path
        Directory for pictures and model and, while it runs, the table; created.
    scheduler : str, optional
        Address of an existing Dask cluster.
    seed : int
        Seed of the start.
    keep : bool
        Keep the table, in ``output/table``.

    Returns
    -------
    float
        Largest relative difference between the fit out of core and in memory.

    Raises
    ------
    ValueError
        If there is not enough disk or memory, saying how many rows there is enough for.
    """
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    _check_room(n_rows, output)
    if keep and (output / "table").exists():
        raise ValueError(f"{output / 'table'} exists already: remove it or choose another --output")
    click.echo(f"emdash demo: one mixture of {n_components} Gaussians, fitted twice\n")
    with tempfile.TemporaryDirectory(prefix="table-", dir=output.resolve()) as work:
        folder = output.resolve() / "table" if keep else Path(work) / "table"
        table = _build(folder, n_rows)
        with connect(scheduler, Path(work)) as client:
            start, streamed = _fit_out_of_core(client, table, folder, n_components, seed)
        held = _fit_in_memory(table, start)
    largest = _compare(streamed, held)
    _draw(output, streamed, held, n_rows)
    click.echo(f"\nAll of it took {time.perf_counter() - began:.0f} s. To try next:")
    click.echo(f"  emdash info {output / 'model.npz'}")
    click.echo(f"  emdash demo -k {2 * n_components} --seed {seed + 1}")
    click.echo(
        f"  emdash demo --keep    # then read {output / 'table'} with dask.array.from_npy_stack"
    )
    return largest


def _check_room(n_rows: int, output: Path) -> None:
    import psutil

    size = 8 * len(COLUMNS)
    for what, free in (
        ("disk", shutil.disk_usage(output).free),
        ("memory", psutil.virtual_memory().available),
    ):
        if free < n_rows * size + SPARE_BYTES:
            enough = max(0, free - SPARE_BYTES) // size
            raise ValueError(
                f"{n_rows} rows need {(n_rows * size + SPARE_BYTES) / 1e9:.1f} GB of {what}, but "
                f"{free / 1e9:.1f} GB are free: there is enough for --rows {enough}"
            )


def _build(folder: Path, n_rows: int) -> Any:
    click.echo("1. The table")
    clock = time.perf_counter()
    table = write_table(folder, n_rows)
    seconds = time.perf_counter() - clock
    n_scales = len(scales(n_rows))
    click.echo(f"   {n_rows:,} rows: the pixels of {' and '.join(NAMES)} at {n_scales} scales")
    click.echo(f"   {len(COLUMNS)} columns: colour, smoothed colour, contrast, position (float64)")
    click.echo(
        f"   {_bytes(table.nbytes)} in {table.numblocks[0]} files of at most "
        f"{_bytes(max(table.chunks[0]) * 8 * len(COLUMNS))}, written in {seconds:.1f} s\n"
    )
    return table


def _fit_out_of_core(
    client: Any, table: Any, folder: Path, n_components: int, seed: int
) -> tuple[GaussianMixture, GaussianMixture]:
    """Return the start and the fit, both made on the cluster."""
    click.echo("2. Out of core, on a Dask cluster")
    unseen = [worker for worker, seen in client.run(folder.exists).items() if not seen]
    if unseen:
        raise ValueError(
            f"worker {unseen[0]} cannot see {folder}: choose an --output that all workers see"
        )
    client.run(warm)
    limit = total_limit(client)
    with Meter(lambda: sum(client.run(resident).values())) as meter:
        _say_limits(client, table, limit, meter)
        clock = time.perf_counter()
        start = GaussianMixture(
            n_components, max_iter=0, reg_covar=REG_COVAR, random_state=seed
        ).fit(table)
        click.echo(f"   start: k-means on a sample of rows, {time.perf_counter() - clock:.1f} s")
        of = f" of {_bytes(limit)}" if limit else ""
        fit = _fit(start, table, lambda: f"workers {_bytes(meter.peak)}{of}")
    click.echo(
        f"   peak of the workers {_bytes(meter.peak)}: the fit added "
        f"{_bytes(meter.peak - meter.first)}, for a table of {_bytes(table.nbytes)}"
    )
    click.echo(
        f"   {PASSES} passes are the budget of the demo; without one a fit goes on until the\n"
        "   log-likelihood changes by less than tol\n"
    )
    return start, fit


def _say_limits(client: Any, table: Any, limit: int, meter: Meter) -> None:
    n = len(client.nthreads())
    if limit:
        click.echo(
            f"   {n} worker processes may use {_bytes(limit)} together; the table is "
            f"{table.nbytes / limit:.2g} times that"
        )
    else:
        click.echo(f"   {n} worker processes without a memory limit")
    click.echo(f"   before the fit they hold {_bytes(meter.first)}: Python and its libraries")


def _fit_in_memory(table: Any, start: GaussianMixture) -> GaussianMixture:
    import dask.array as da

    click.echo("3. The same in memory, to check the answer")
    with Meter(resident) as meter:
        rows = np.empty(table.shape, table.dtype)
        da.store(table, rows, lock=False, scheduler="threads")
        click.echo(f"   the table is read into one NumPy array of {_bytes(rows.nbytes)}")
        fit = _fit(start, rows, lambda: f"this process {_bytes(meter.peak)}")
    click.echo()
    return fit


def _fit(start: GaussianMixture, X: Any, memory: Any) -> GaussianMixture:
    """Fit from `start`, print a line per pass and one at the end."""
    from sklearn.exceptions import ConvergenceWarning

    def tell(record: Pass) -> None:
        click.echo(
            f"   pass {record.number:2d}/{PASSES}   log-likelihood {record.log_likelihood:.9f}   "
            f"{record.n_rows / record.seconds / 1e6:5.2f} M rows/s   {memory()}"
        )

    model = GaussianMixture(
        start.n_components,
        weights_init=start.weights_,
        means_init=start.means_,
        precisions_init=start.precisions_,
        reg_covar=start.reg_covar,
        max_iter=PASSES,
        tol=0,
        callback=tell,
    )
    clock = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # PASSES is meant
        model.fit(X)
    seconds = time.perf_counter() - clock
    click.echo(f"   {seconds:.1f} s, {PASSES * len(X) / seconds / 1e6:.2f} M rows/s on average")
    return model


def _compare(streamed: GaussianMixture, held: GaussianMixture) -> float:
    click.echo("4. Out of core against in memory: largest relative difference")
    found = differences(held, streamed)
    for name, value in found.items():
        click.echo(f"   {name:<15} {value:.1e}")
    largest = max(found.values())
    click.echo(f"   largest relative difference: {largest:.1e}\n")
    return largest


def _draw(output: Path, model: GaussianMixture, held: GaussianMixture, n_rows: int) -> None:
    click.echo("5. Written")
    photographs = [photograph(name) for name in NAMES]
    colours = lab_to_rgb(model.means_[:, :3])
    segmented = [
        colours[model.predict(features(rgb, FINEST))].reshape(rgb.shape) for rgb in photographs
    ]
    caption = f"emdash: {len(model.weights_)} Gaussians with full covariances, {n_rows:,} rows"
    draw_segmentation(output / "segmentation.png", photographs, segmented, caption)
    draw_convergence(output / "convergence.png", model.lower_bounds_, held.lower_bounds_, PROMISED)
    save(model, output / "model.npz")
    for name in ("segmentation.png", "convergence.png", "model.npz"):
        click.echo(f"   {output / name}")


def _bytes(number: float) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"
