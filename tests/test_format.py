"""FORMAT.md says enough: a decoder written from its text alone decodes every golden block."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import format_block
import format_coder
import google_crc32c
import pytest
from conftest import PACKAGE
from test_vectors import NAMES, load

from sanstream.bank import Bank

TEXT = (PACKAGE / "FORMAT.md").read_text(encoding="utf-8")
BANKS: dict[str, format_coder.Bank] = {}


def bank_of(bank: Bank) -> format_coder.Bank:
    if bank.id not in BANKS:
        BANKS[bank.id] = format_coder.read_bank(bank.data)
    return BANKS[bank.id]


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_written_from_the_text_decodes_a_vector(name: str) -> None:
    vector, payload, coding, bank = load(name)
    columns = format_block.decode(payload, vector["number"], vector["coding"], bank_of(bank))
    assert (
        google_crc32c.value(
            struct.pack(
                f"<{vector['n_samples'] * coding.n_channels}i", *(v for row in zip(*columns, strict=True) for v in row)
            )
        )
        == vector["samples_crc32c"]
    )


def test_clause_5_4_tables_have_the_checksums_that_the_text_gives() -> None:
    tables = [
        ([format_coder.SQUASH[x] for x in range(-2815, 2816)], "i"), (format_coder.STRETCH, "i"),
        (format_coder.RATE, "i"), (format_coder.CONFIDENCE, "i"), (format_coder.STEPS, "q"),
    ]  # fmt: skip
    found = [f"0x{google_crc32c.value(struct.pack(f'<{len(t)}{kind}', *t)):08X}" for t, kind in tables]
    assert found == re.findall(r"0x[0-9A-F]{8}", TEXT.partition("CRC32C of each table")[2].partition("\n`")[0])


def test_every_clause_that_the_code_names_is_there() -> None:
    clauses = set(re.findall(r"^(?:## )?([0-9]+(?:\.[0-9]+)?)\.? ", TEXT, re.MULTILINE))
    named = {
        clause
        for path in PACKAGE.glob("*.py")
        for group in re.findall(r"FORMAT\.md,? clauses? ([0-9., and to]+)", path.read_text(encoding="utf-8"))
        for clause in re.findall(r"[0-9]+(?:\.[0-9]+)?", group)
    }
    assert named
    assert named <= clauses


def test_the_text_lists_the_vectors_folder() -> None:
    assert "tests/vectors/<name>.json" in TEXT
    assert (Path(__file__).parent / "vectors").is_dir()
