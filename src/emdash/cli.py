"""The command line: fit, predict, info, versions, demo.

Every command is a few lines around the public interface. Imports that take
time are made inside the commands, so that ``emdash --help`` is instant.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import click

from emdash import __version__

__all__ = ["main"]

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")

FILE = click.Path(path_type=Path)
DATA = click.Path()  # as it was given: a URL is no path of this machine
POSITIVE = click.IntRange(min=1)
SEED = click.IntRange(0, 2**32 - 1)

threads_option = click.option(
    "--threads",
    type=POSITIVE,
    metavar="N",
    help="Largest number of threads.  [default: all usable cores]",
)

columns_option = click.option(
    "--columns",
    metavar="NAMES",
    help="Columns to use, separated by commas, where they have names.  [default: all]",
)
weights_option = click.option(
    "--sample-weight",
    metavar="NAME",
    help="Column that holds the weights of the rows, which is no feature.  [default: none]",
)
memory_option = click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Most memory to use, such as 500MB.  [default: three quarters of what is free]",
)


def examples(*lines: str) -> str:
    """Return the end of a help page; the backspace tells click to leave line breaks alone."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what the user can put right into one line and exit code 1, without a traceback."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise click.ClickException(str(error)) from None
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except MemoryError as error:
        raise click.ClickException(f"not enough memory: {error}") from None
    except (ValueError, TypeError, ImportError) as error:
        raise click.ClickException(" ".join(str(error).split())) from None


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
    epilog=examples(
        "emdash demo",
        "emdash fit measurements.npy -k 8 -o model.npz",
        "emdash info model.npz",
        "emdash predict model.npz measurements.npy -o labels.npy",
    ),
)
@click.version_option(__version__, prog_name="emdash")
def main() -> None:
    """Exact Gaussian mixtures, in memory, larger than memory and on a Dask cluster."""


@main.command(
    epilog=examples(
        "emdash fit measurements.npy -k 8 -o model.npz",
        "emdash fit measurements.npy -k 8 --covariance diag --tol 1e-6 -o model.npz",
        "emdash fit table.parquet -k 8 --columns x,y,z --memory-limit 500MB -o model.npz",
        "emdash fit measurements.npy -k 3 --n-init 10 --seed 1 --quiet -o model.npz",
        "emdash fit measurements.npy -k 64 --checkpoint fit.npz -o model.npz",
    )
)
@click.argument("data", type=DATA)
@click.option(
    "-k", "--components", type=POSITIVE, metavar="N", required=True, help="Number of components."
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    required=True,
    metavar="MODEL",
    help="Where to write the model, for example model.npz; replaced if it exists.",
)
@click.option(
    "--covariance",
    type=click.Choice(COVARIANCE_TYPES),
    default="full",
    help="Matrix per component, one matrix, variances per component, one per component.",
)
@click.option(
    "--tol",
    type=click.FloatRange(min=0),
    metavar="X",
    default=1e-3,
    help="Stop when the mean log-likelihood per row changes by less.",
)
@click.option(
    "--max-iter",
    type=click.IntRange(min=0),
    metavar="N",
    default=100,
    help="Largest number of passes over the data; 0 keeps the start.",
)
@click.option(
    "--reg-covar",
    type=click.FloatRange(min=0),
    metavar="X",
    default=1e-6,
    help="Added to the diagonal of the covariances, in the unit of the data squared.",
)
@click.option(
    "--init", type=click.Choice(INIT_PARAMS), default="kmeans", help="How to find the start."
)
@click.option(
    "--n-init",
    type=POSITIVE,
    metavar="N",
    default=1,
    help="Number of starts, of which the best fit is kept.",
)
@click.option(
    "--seed",
    type=SEED,
    metavar="N",
    default=0,
    help="Seed of the start; the same seed gives the same model.",
)
@click.option(
    "--checkpoint",
    type=FILE,
    metavar="FILE",
    help="Keep in this file how far the fit has come; if it is there, go on from it.",
)
@columns_option
@weights_option
@memory_option
@threads_option
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
@plain_errors()
def fit(
    data: str,
    components: int,
    output: Path,
    covariance: str,
    tol: float,
    max_iter: int,
    reg_covar: float,
    init: str,
    n_init: int,
    seed: int,
    checkpoint: Path | None,
    columns: str | None,
    sample_weight: str | None,
    memory_limit: str | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Fit a Gaussian mixture to a file.

    DATA holds a table of numbers, one row per observation: .npy, .zarr, .h5 (FILE::DATASET),
    .parquet, .arrow, .feather or .csv, or a directory of them. It is read chunk by chunk in
    every pass, so it may be larger than memory. Progress goes to standard error, a summary
    to standard output. With --checkpoint, the same command goes on where it was interrupted.
    """
    from sklearn.exceptions import ConvergenceWarning

    from emdash.archive import check_apart, check_target
    from emdash.estimators.mixtures import GaussianMixture
    from emdash.persistence import save
    from emdash.sources import open_table
    from emdash.summary import facts

    check_target(output)
    check_apart(output, data)
    if checkpoint is not None:
        check_apart(checkpoint, data)
        check_apart(output, checkpoint)
    model = GaussianMixture(
        components,
        covariance_type=covariance,
        tol=tol,
        max_iter=max_iter,
        reg_covar=reg_covar,
        init_params=init,
        n_init=n_init,
        random_state=seed,
        n_threads=threads,
        memory_limit=memory_limit,
        checkpoint=checkpoint,
        verbose=0 if quiet else 2,
    )
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below in a line
        try:
            names = columns and [*columns.split(","), *filter(None, [sample_weight])]
            model.fit(open_table(data, names or None), sample_weight=sample_weight)
        except KeyboardInterrupt:
            again = f" to go on from {checkpoint}" if checkpoint else "; --checkpoint keeps a fit"
            raise click.ClickException(f"interrupted. Run the command again{again}") from None
    save(model.set_params(verbose=0), output)
    if not quiet:
        if not model.converged_:
            click.echo("Stopped at --max-iter before --tol was met: raise one of them.", err=True)
        click.echo("\n".join([*facts(model), f"written         {output}"]))


@main.command(
    epilog=examples(
        "emdash predict model.npz measurements.npy -o labels.npy",
        "emdash predict model.npz big.zarr -o labels.zarr --memory-limit 500MB",
        "emdash predict model.npz table.parquet --columns x,y --proba -o probabilities.parquet",
        "emdash predict model.npz measurements.npy --log-likelihood -o densities.npy",
        "emdash predict model.npz table.parquet --impute -o complete.parquet",
    )
)
@click.argument("model", type=FILE)
@click.argument("data", type=DATA)
@click.option(
    "-o",
    "--output",
    type=FILE,
    required=True,
    metavar="FILE",
    help="Where to write the answers: .npy, .zarr, .parquet or .csv; replaced if it exists.",
)
@click.option(
    "--proba",
    "question",
    flag_value="proba",
    help="Write the probability of each component for each row instead of labels.",
)
@click.option(
    "--log-likelihood",
    "question",
    flag_value="log-likelihood",
    help="Write the natural logarithm of the density of each row instead of labels.",
)
@click.option(
    "--impute",
    "question",
    flag_value="impute",
    help="Write the rows, missing cells replaced by their means given the rest of the row.",
)
@columns_option
@memory_option
@threads_option
@plain_errors()
def predict(
    model: Path,
    data: str,
    output: Path,
    question: str | None,
    columns: str | None,
    memory_limit: str | None,
    threads: int | None,
) -> None:
    """Label each row of a file.

    The label of a row of DATA is the component of MODEL it most likely came from, from 0.
    MODEL was written by 'emdash fit' or emdash.save, DATA is whatever 'emdash fit' reads.
    Rows are read and answers are written chunk by chunk, so both may be larger than memory.
    """
    from emdash.answers import check_answers_target, write_answers
    from emdash.archive import check_apart
    from emdash.persistence import load
    from emdash.sources import open_table

    check_answers_target(output)
    check_apart(output, model, data)
    estimator = load(model).set_params(n_threads=threads, memory_limit=memory_limit)
    source = open_table(data, columns and columns.split(","))
    wanted = [*getattr(estimator, "feature_names_in_", ())]
    if wanted and source.feature_names and [*source.feature_names] != wanted:
        found, these = ",".join(source.feature_names), ",".join(wanted)
        raise ValueError(f"{data} has columns {found}, but {model} wants --columns {these}")
    if source.n_features != estimator.n_features_in_:
        raise ValueError(
            f"{data} has {source.n_features} columns, but {model} was fitted to "
            f"{estimator.n_features_in_}"
        )
    features = source.feature_names or [f"x{j}" for j in range(source.n_features)]
    components = [f"component {k}" for k in range(len(estimator.weights_))]
    ask, names = {
        None: (estimator.predict, ["label"]),
        "proba": (estimator.predict_proba, components),
        "log-likelihood": (estimator.score_samples, ["log_likelihood"]),
        "impute": (estimator.impute, features),
    }[question]
    write_answers(ask, names, estimator._open(source, reset=False), output)


@main.command(epilog=examples("emdash info model.npz"))
@click.argument("model", type=FILE)
@plain_errors()
def info(model: Path) -> None:
    """Show what a model file holds.

    The size of the model, how its fit ended, and the weights and means of its components.
    """
    from emdash.persistence import load
    from emdash.summary import components, facts

    estimator = load(model)
    click.echo("\n".join([*facts(estimator), "", *components(estimator)]))


@main.command(epilog=examples("emdash versions"))
def versions() -> None:
    """Show versions and compiled code.

    What a bug report needs: the versions of emdash and its dependencies, whether OpenMP is
    compiled in, the number of threads and the vector instructions that are used.
    """
    from emdash.versions import show_versions

    show_versions()


@main.command(
    epilog=examples(
        "emdash demo",
        "emdash demo --rows 1000000 -k 5 --output pictures",
        "emdash demo --scheduler tcp://127.0.0.1:8786",
    )
)
@click.option(
    "--rows",
    type=click.IntRange(min=1000),
    metavar="N",
    default=15_000_000,
    help="Rows of the table, 80 bytes each; it is written to disk and removed at the end.",
)
@click.option(
    "-k", "--components", type=POSITIVE, metavar="N", default=12, help="Number of components."
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    default=Path("emdash-demo"),
    metavar="DIRECTORY",
    help="Where to write the pictures and, while it runs, the table.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Use this Dask cluster, for example tcp://127.0.0.1:8786, instead of two local "
    "workers; they must see the output directory.",
)
@click.option("--seed", type=SEED, metavar="N", default=0, help="Seed.")
@click.option("--keep", is_flag=True, help="Keep the table, in DIRECTORY/table.")
@plain_errors()
def demo(
    rows: int, components: int, output: Path, scheduler: str | None, seed: int, keep: bool
) -> None:
    """Segment two photographs on a cluster.

    Makes a table of millions of rows from the pixels of two photographs, fits a
    mixture to it with two worker processes that may use a fraction of its size,
    fits the same in memory, compares the two, and writes segmentation.png and
    convergence.png. Takes one to two minutes, 1.2 GB of disk and 2 GB of memory.
    """
    from emdash.demo.story import PROMISED, run

    difference = run(rows, components, output, scheduler=scheduler, seed=seed, keep=keep)
    if not difference < PROMISED:
        raise click.ClickException(
            "the two answers differ by more than rounding: please report this with the output "
            "of 'emdash versions'"
        )
