"""The CRC32C of two stretches of bytes joined, from the CRC32C of each: polynomials over GF(2), bits reversed."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31


def join_crc(first: int, second: int, n_bytes: int) -> int:
    """Return the CRC32C of what ``first`` was made of, followed by the ``n_bytes`` that ``second`` was made of."""
    return _product(_power(8 * n_bytes), first) ^ second


def _power(n: int) -> int:
    """Return x^n modulo the polynomial."""
    out, square = _ONE, _ONE >> 1
    while n:
        if n & 1:
            out = _product(square, out)
        square = _product(square, square)
        n >>= 1
    return out


def _product(a: int, b: int) -> int:
    out = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            out ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return out
