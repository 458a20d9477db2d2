"""The benchmark in a minute, for continuous integration: counts and bounds are checked, times are not."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.benchmark import cases, summary
from pipelines.benchmark.campaign import Options, measure
from pipelines.benchmark.own import NAME


def run(data: Path) -> None:
    """Measure seconds of simulated signals and, where the data folder is, of one EEG.

    Raises
    ------
    SystemExit
        When a row is missing or a bound is broken.
    """
    tasks = [(cases.SIMULATED, record) for record in cases.records(cases.SIMULATED, data)]
    if cases.records("bonn", data):
        tasks.append(("bonn", cases.records("bonn", data)[0]))
    with tempfile.TemporaryDirectory() as work:
        options = Options(data, Path(work), ("default",), most_s=5.0)
        rows = measure(options, tasks)
    ours = [r for r in rows if r["codec"] == NAME]
    expected = sum(len(cases.figures(database)) for database, _ in tasks)
    wrong = [f"{r['record']}, {r['figure']}" for r in ours if r["broken"] or not r["coded_bytes"]]
    if len(ours) != expected or wrong:
        raise SystemExit(f"{len(ours)} of {expected} rows of sanstream; broken: {wrong}")
    left_out = sorted({r["codec"] for r in rows if "missing" in r})
    table = summary.table(summary.aggregate(rows))
    print(f"{len(rows)} rows, {len(table)} figures, no broken window; not installed: {', '.join(left_out) or 'none'}")
