"""A re-encoding that ends half way, on a full disk or an interrupt, says that the same command goes on; and it does."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run
from reencode_cases import Inline, make, one, signal

from sanstream.archive import verify
from sanstream.archive_folder import RecordingFolder
from sanstream.reencode_store import LocalCheckpoints, checkpoints_of

GOES_ON = "what is done so far is kept: the same command goes on where it was\n"
FULL = OSError(errno.ENOSPC, "No space left on device")


def _failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["encoding", "writing"])
def test_cut_off_it_says_that_the_same_command_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: type[Inline], error: BaseException, where: str
) -> None:
    target = tmp_path / "b.san"
    make(tmp_path / "a.san", one(signal(60)))
    words = ("reencode", tmp_path / "a.san", "--to", target, "--quality", "prdn=5")
    put = LocalCheckpoints.put

    def put_plans_only(self: LocalCheckpoints, key: str, data: bytes) -> None:
        if not key.endswith("/plan") and not key.startswith("banks/"):
            raise error
        put(self, key, data)

    with monkeypatch.context() as patch:
        if where == "encoding":
            patch.setattr(LocalCheckpoints, "put", put_plans_only)
        else:
            patch.setattr(RecordingFolder, "add_segment", _failing(error))
        ended = run(*words)
    if error is FULL:
        assert ended.err == f"error: {target}: no space left while writing it; free some space; {GOES_ON}"
        assert ended.code == 2
    else:
        assert (ended.code, ended.err) == (130, f"error: interrupted; {GOES_ON}")
    assert not target.exists()
    assert any(Path(checkpoints_of(target)).glob("*/plan"))
    before = len(inline.ran)
    assert run(*words).code == 0
    redone = inline.ran[before:]
    assert not [job for job in redone if job.endswith("its plan")]
    assert bool(redone) == (where == "encoding"), "what was kept is not done again"
    assert verify(target, deep=True) == []
