"""A whole fit of data larger than one would like to hold, by what users would pick for it.

Every system gets the same file, the same start, no regularisation, and the same number
of passes on two workers or threads. Each runs in a process of its own (`scale.py`).
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Truth
from benchmarks.naive import expectation_maximization
from benchmarks.systems import Answer

__all__ = ["SYSTEMS", "Work"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What to fit.

    Attributes
    ----------
    path : Path
        Raw float64 rows in C order, without a header.
    shape : (int, int)
        Rows and features.
    chunk_rows : int
        Rows per chunk, for systems that have chunks.
    start : Truth
        Parameters that enter the first pass.
    """

    path: Path
    shape: tuple[int, int]
    chunk_rows: int
    start: Truth

    def rows(self, first: int, last: int) -> Array:
        """Read rows ``first, ..., last - 1``."""
        n, d = self.shape
        last = min(last, n)
        count, offset = (last - first) * d, first * d * 8
        return np.fromfile(self.path, count=count, offset=offset).reshape(-1, d)

    def chunk(self, index: int) -> Array:
        """Read chunk number `index`."""
        return self.rows(index * self.chunk_rows, (index + 1) * self.chunk_rows)

    def n_chunks(self) -> int:
        return -(-self.shape[0] // self.chunk_rows)

    def initial(self) -> dict[str, Array]:
        """Return the start as arguments of a ``GaussianMixture``."""
        return {
            "weights_init": self.start.weights,
            "means_init": self.start.means,
            "precisions_init": np.linalg.inv(self.start.covariances),
        }


class System(ABC):
    """Something that can fit; the constructor does what is not timed.

    Attributes
    ----------
    name : str
        In the table.
    module : str
        What must be importable.
    given_start : bool
        Whether it begins where it is told. If not, its answer cannot be compared.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    given_start: ClassVar[bool] = True

    def __init__(self, work: Work) -> None:
        self.work = work
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Start what must run, and load what it keeps in memory."""

    @abstractmethod
    def fit(self, passes: int) -> Answer:
        """Do that many passes from the start. Timed."""

    def close(self) -> None:  # noqa: B027 - some have nothing to stop
        """Stop what `prepare` started."""


def estimator(kind: Any, work: Work, passes: int) -> Any:
    """Return a ``GaussianMixture`` of one of the two libraries that have one."""
    K = len(work.start.weights)
    return kind(K, tol=0.0, reg_covar=0.0, max_iter=passes, **work.initial())


class _OnCluster(System):
    """Two worker processes with one thread each; chunks are read from the file."""

    def prepare(self) -> None:
        import dask.array as da
        import distributed

        work = self.work
        self.client = distributed.Client(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        )
        n, d = work.shape
        lengths = [min(work.chunk_rows, n - i * work.chunk_rows) for i in range(work.n_chunks())]
        self.X = da.map_blocks(
            lambda block_id=None: work.chunk(block_id[0]),
            chunks=(tuple(lengths), (d,)),
            dtype=float,
            meta=np.empty((0, 0)),
        )

    def close(self) -> None:
        self.client.close()
        self.client.cluster.close()


class Emdash(_OnCluster):
    """This package: every pass reads the file again."""

    name = "emdash, 2 workers"
    module = "emdash"

    def fit(self, passes: int) -> Answer:
        from emdash import GaussianMixture

        model = estimator(GaussianMixture, self.work, passes).fit(self.X)
        return model.weights_, model.means_, model.covariances_


class EmdashPersisted(Emdash):
    """This package, the rows held by the workers."""

    name = "emdash, 2 workers, persisted"

    def prepare(self) -> None:
        super().prepare()
        self.X = hold(self.X)


class DaskArray(_OnCluster):
    """Array expressions on rows that the workers hold."""

    name = "dask.array, 2 workers, persisted"
    module = "dask.array"

    def prepare(self) -> None:
        super().prepare()
        self.X = hold(self.X)

    def fit(self, passes: int) -> Answer:
        start = self.work.start
        answer = start.weights, start.means, start.covariances
        for _ in range(passes):
            answer = expectation_maximization(self.X, *answer)
        return answer


def hold(array: Any) -> Any:
    """Return the array in the memory of the workers."""
    from distributed import wait

    array = array.persist()
    wait(array)
    return array


class ScikitLearn(System):
    """One array in memory, BLAS with as many threads as it takes."""

    name = "scikit-learn"
    module = "sklearn.mixture"

    def prepare(self) -> None:
        self.X = self.work.rows(0, self.work.shape[0])

    def fit(self, passes: int) -> Answer:
        from sklearn.mixture import GaussianMixture

        model = estimator(GaussianMixture, self.work, passes).fit(self.X)
        return model.weights_, model.means_, model.covariances_


class _Spark(System):
    """Apache Spark on this machine with two threads; its rows are cached in the JVM."""

    module = "pyspark"

    def prepare(self) -> None:
        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable
        self.session = (
            SparkSession.builder.master("local[2]")
            .config("spark.driver.memory", "10g")
            .config("spark.ui.enabled", "false")
            .config("spark.log.level", "ERROR")
            .getOrCreate()
        )
        self.cache()

    @abstractmethod
    def cache(self) -> None:
        """Load the rows into the JVM."""

    def close(self) -> None:
        self.session.stop()


class SparkRdd(_Spark):
    """``pyspark.mllib``, which can be told where to begin."""

    name = "Spark mllib (RDD), local[2]"

    def cache(self) -> None:
        from pyspark.mllib.common import _to_java_object_rdd
        from pyspark.mllib.linalg import DenseVector

        work, context = self.work, self.session.sparkContext
        chunks = context.parallelize(range(work.n_chunks()), work.n_chunks())
        self.vectors = _to_java_object_rdd(chunks.flatMap(work.chunk).map(DenseVector))
        self.vectors.cache()
        self.vectors.count()

    def fit(self, passes: int) -> Answer:
        context, start = self.session.sparkContext, self.work.start
        jvm, gateway = context._jvm, context._gateway
        K, d = start.means.shape
        linalg, mllib = jvm.org.apache.spark.mllib.linalg, jvm.org.apache.spark.mllib

        def doubles(values: Array) -> Any:
            array = gateway.new_array(gateway.jvm.double, len(values))
            for i, value in enumerate(values):
                array[i] = float(value)
            return array

        kind = mllib.stat.distribution.MultivariateGaussian
        components = gateway.new_array(kind, K)
        for k in range(K):
            components[k] = kind(
                linalg.DenseVector(doubles(start.means[k])),
                linalg.DenseMatrix(d, d, doubles(start.covariances[k].ravel())),
            )
        initial = mllib.clustering.GaussianMixtureModel(doubles(start.weights), components)
        mixture = mllib.clustering.GaussianMixture().setK(K).setConvergenceTol(0.0)
        model = mixture.setMaxIterations(passes).setInitialModel(initial).run(self.vectors)
        found = model.gaussians()
        return (
            np.array(list(model.weights())),
            np.array([list(g.mu().toArray()) for g in found]),
            np.array([np.reshape(list(g.sigma().toArray()), (d, d)) for g in found]),
        )


class SparkFrame(_Spark):
    """``pyspark.ml``, from Parquet. It begins at a sample of its own; a pass costs the same."""

    name = "Spark ml (DataFrame), local[2]"
    given_start = False

    def cache(self) -> None:
        import pyarrow
        import pyarrow.parquet
        from pyspark.ml.feature import VectorAssembler

        folder = self.work.path.with_suffix(".parquet")
        names = [f"x{j}" for j in range(self.work.shape[1])]
        if not folder.exists():
            folder.mkdir()
            for index in range(self.work.n_chunks()):
                rows = pyarrow.table(dict(zip(names, self.work.chunk(index).T, strict=True)))
                pyarrow.parquet.write_table(rows, folder / f"{index}.parquet")
        columns = self.session.read.parquet(str(folder))
        assembled = VectorAssembler(inputCols=names, outputCol="features").transform(columns)
        self.frame = assembled.select("features").cache()
        self.frame.count()

    def fit(self, passes: int) -> Answer:
        from pyspark.ml.clustering import GaussianMixture

        K, d = self.work.start.means.shape
        model = GaussianMixture(k=K, maxIter=passes, tol=0.0, seed=1).fit(self.frame)
        found = model.gaussians
        return (
            np.array(model.weights),
            np.array([g.mean.toArray() for g in found]),
            np.array([g.cov.toArray() for g in found]).reshape(K, d, d),
        )


SYSTEMS: tuple[type[System], ...] = (
    Emdash,
    EmdashPersisted,
    DaskArray,
    ScikitLearn,
    SparkRdd,
    SparkFrame,
)
"""The registry; the first is the measure of the others."""
