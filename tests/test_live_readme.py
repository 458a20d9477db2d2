"""The README's live section works as printed, on ports of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from servers import free_port, program

from sanstream.formats import read

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def script_of_section(name: str) -> str:
    """Join a section's blocks into one shell script; Python goes to another process."""
    section = README.partition(f"## {name}\n")[2].partition("\n## ")[0]
    blocks = BLOCK.findall(section)
    assert [language for language, _ in blocks] == ["", "", "python", ""]
    parts = [f"python - <<'END'\n{text}END\n" if language else text for language, text in blocks]
    return "set -e\n" + "".join(parts)


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the README no longer says {old!r}"
    return text.replace(old, new)


def test_the_live_section_works_as_printed(tmp_path: Path) -> None:
    server = program("nats-server")
    broker, page = str(free_port()), str(free_port())
    script = replaced(script_of_section("Live"), "-a 127.0.0.1 &", f"-a 127.0.0.1 -p {broker} &")
    script = replaced(script, "127.0.0.1:4222", f"127.0.0.1:{broker}")
    script = replaced(script, "127.0.0.1:9464", f"127.0.0.1:{page}")
    script = replaced(script, "--to live --quality", f"--to live --listen 127.0.0.1:{page} --quality")
    command = tmp_path / "bin" / "sanstream"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sanstream "$@"\n')
    command.chmod(0o755)
    folders = [str(command.parent), str(Path(sys.executable).parent), str(Path(server).parent), os.environ["PATH"]]
    run = subprocess.run(
        ["bash", "-c", "trap 'kill $(jobs -p)' EXIT\n" + script],
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "all is well" in run.stdout
    assert re.search(r'sanstream_samples_total\{feed="nats",modality="ecg"\} 432000\.0', run.stdout)
    assert "ecg 360hz (2500, 2)" in run.stdout
    assert "live: sound" in run.stderr + run.stdout
    sent, given = (read(tmp_path / place) for place in ("simulated/ecg", "day/ecg.edf"))
    assert given.streams[0].rate == sent.streams[0].rate
    assert sum(map(len, given.annotations)) == sum(map(len, sent.annotations)) > 0
