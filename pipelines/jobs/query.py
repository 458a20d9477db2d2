"""Ask a dataset of pipelines.jobs.records with DuckDB: beats, runs of bigeminy, hours with most artefact, or your own.

Usage: python -m pipelines.jobs.query DATASET beats|bigeminy|artefact_hours|FILE.sql [--to FILE.parquet] [--json]

The queries are the .sql files beside this one; they read the tables activations, windows and kernels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from pipelines.jobs.dataset import NO_ACTIVATIONS, TABLES
from sanstream.archive_objects import local_path
from sanstream.archive_store import remote_scheme
from sanstream.cli.exits import main
from sanstream.cli.output import json_option, print_json, print_table
from sanstream.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path(__file__).parent
QUERIES = {"beats": ("beats",), "bigeminy": ("beats", "bigeminy"), "artefact_hours": ("artefact_hours",)}
"""What each query runs, in order."""
PARTITIONS = [("date", pa.string()), ("stream", pa.string())]
_SHOWN = 40


def connect(dataset: str) -> DuckDBPyConnection:
    """Return a connection that has a dataset's tables as views.

    Parameters
    ----------
    dataset : str
        A folder, or ``s3://``, ``gs://``.

    Raises
    ------
    InputError
        When DuckDB is not installed, or no dataset stands there.
    """
    try:
        import duckdb
    except ImportError:
        raise InputError("DuckDB is not installed", hint="pip install 'sanstream[scale]'") from None
    connection = duckdb.connect()
    found = {table: _source(dataset, table) for table in TABLES}
    if all(source is None for source in found.values()):
        raise InputError(f"{dataset}: no dataset stands here", hint="make one: python -m pipelines.jobs.records --help")
    for table, source in found.items():
        if isinstance(source, str):
            connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{source}', hive_partitioning = true)")
        else:
            connection.register(table, _empty(table) if source is None else source)
    return connection


def _source(dataset: str, table: str) -> str | ds.Dataset | None:
    """Return what DuckDB reads a table from; None where it has no rows."""
    if not remote_scheme(dataset):
        folder = local_path(dataset) / table
        if next(folder.glob("*/*/*.parquet"), None) is None:
            return None
        return f"{folder}/*/*/*.parquet".replace("'", "''")
    try:
        filesystem, path = _filesystem(dataset)
        hive = ds.partitioning(pa.schema(PARTITIONS), flavor="hive")
        found = ds.dataset(f"{path}/{table}", filesystem=filesystem, format="parquet", partitioning=hive)
    except FileNotFoundError:
        return None
    return found if found.files else None


def _filesystem(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    parts = urlsplit(url)
    if parts.scheme == "s3" and endpoint:
        scheme, _, host = endpoint.partition("://")
        return pyarrow.fs.S3FileSystem(endpoint_override=host, scheme=scheme), f"{parts.netloc}{parts.path}"
    found: tuple[pyarrow.fs.FileSystem, str] = pyarrow.fs.FileSystem.from_uri(url)
    return found


def _empty(table: str) -> pa.Table:
    return pa.schema([*TABLES[table], *(pa.field(n, t) for n, t in PARTITIONS)]).empty_table()


def ask(connection: DuckDBPyConnection, query: str) -> pa.Table:
    """Run one of :data:`QUERIES`, or a file, and return its last result.

    Raises
    ------
    InputError
        On a query that is not there, and with what DuckDB says of one that is wrong.
    """
    files = [FOLDER / f"{name}.sql" for name in QUERIES.get(query, ())] or [Path(query)]
    if not all(file.is_file() for file in files):
        raise InputError(f"query {query!r} is not there", hint=f"use {', '.join(QUERIES)}, or name a file of SQL")
    result = None
    for file in files:
        result = _last(connection, file, is_wanted=file is files[-1])
    if result is None:
        raise InputError(f"{files[-1]}: its last statement gives no rows", hint="let it end in a SELECT")
    return result


def _last(connection: DuckDBPyConnection, file: Path, *, is_wanted: bool) -> pa.Table | None:
    """Run a file's statements; of one that another builds on, what it shows at its end is not wanted."""
    import duckdb

    try:
        statements = connection.extract_statements(file.read_text(encoding="utf-8"))
        for statement in statements[:-1]:
            connection.execute(statement).fetchall()
        result = connection.sql(statements[-1]) if is_wanted and statements else None
        return None if result is None else result.to_arrow_table()
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not text", hint="name a file of SQL") from None
    except duckdb.Error as error:
        raise InputError(f"{file}: {error}".rstrip(), hint=f"the tables are {', '.join(TABLES)}") from None


@click.command()
@click.argument("dataset")
@click.argument("query")
@click.option("--to", type=click.Path(path_type=Path), help="Write all rows into this Parquet file.")
@json_option
def query(dataset: str, query: str, to: Path | None, as_json: bool) -> None:
    """Ask a dataset: beats, bigeminy, artefact_hours, or a file of SQL."""
    connection = connect(dataset)
    table = ask(connection, query)
    if query != "artefact_hours" and connection.execute("SELECT 1 FROM activations LIMIT 1").fetchone() is None:
        click.echo(f"warning: {dataset}: {NO_ACTIVATIONS}", err=True)
    if to is not None:
        pq.write_table(table, to, compression="zstd")
    if as_json:
        print_json(table.to_pylist())
        return
    print_table(table.column_names, [list(row.values()) for row in table.slice(0, _SHOWN).to_pylist()])
    if table.num_rows > _SHOWN:
        click.echo(f"{table.num_rows - _SHOWN:,} more rows: take them with --to FILE.parquet, or --json", err=True)


if __name__ == "__main__":
    main(query, "python -m pipelines.jobs.query")
