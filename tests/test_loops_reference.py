"""The loops as plain Python are the reference: they decode every vector to the same samples as compiled."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Run
from test_vectors import NAMES

CODE = """
import json, sys, warnings
warnings.simplefilter("error")
import google_crc32c
sys.path.insert(0, sys.argv[1])
from test_vectors import NAMES, load
from sanstream._loops_samples import code_samples
from sanstream.decode import decode_block
assert not hasattr(code_samples, "py_func"), "compiled"
found = {}
for name in NAMES:
    vector, payload, coding, bank = load(name)
    y = decode_block(payload, vector["number"], coding, bank)
    found[name] = google_crc32c.value(y.astype("<i4").tobytes())
print(json.dumps(found))
"""


def test_plain_python_decodes_every_vector_like_compiled_code(run_python: Run) -> None:
    folder = Path(__file__).parent
    ended = run_python(CODE, folder, env={"NUMBA_DISABLE_JIT": "1"})
    assert ended.code == 0, ended.err
    expected = {n: json.loads((folder / "vectors" / f"{n}.json").read_text())["samples_crc32c"] for n in NAMES}
    assert json.loads(ended.out) == expected
