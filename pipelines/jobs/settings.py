"""What a job is told: one TOML file, one frozen dataclass, the same checks as ``ingest.toml`` has."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, field
from pathlib import Path
from typing import Any, TypeVar

from sanstream.config_read import read_table
from sanstream.config_values import TEXT, Kind
from sanstream.errors import InputError

T = TypeVar("T")


def key(kind: Kind, text: str, default: Any = MISSING) -> Any:
    """Describe one key of a job's file."""
    metadata = {"kind": kind, "help": text, "key": "", "shown": ""}
    return field(default=default, metadata=metadata) if default is not MISSING else field(metadata=metadata)


def read_job(file: Path, settings: type[T]) -> T:
    """Read a job's file.

    Parameters
    ----------
    file : Path
    settings : type
        A dataclass whose fields are made by :func:`key`.

    Raises
    ------
    InputError
        When it is no TOML, on an unknown key, naming the nearest known one, a missing one, or a value not allowed.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{file} is not there", hint="copy the example beside the job, pipelines/jobs/*.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: no TOML: {error}") from None
    return read_table(settings, table, file.name)


def _address(value: object) -> str:
    text = str(TEXT.read(value)).rstrip("/")
    if not text:
        raise InputError("it is empty", hint="name a folder, or s3://BUCKET/PREFIX")
    return text


ADDRESS = Kind("folder, or `s3://`, `gs://`, `az://`", _address, TEXT.write)
