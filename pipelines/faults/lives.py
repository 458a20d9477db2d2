"""Random lives of an engine: whatever comes, what was acknowledged is there once, equal, and in its place.

``python -m pipelines.faults.lives --seeds 100`` lives a hundred; the first that fails is told with its seed and turn.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from pipelines.faults.devices import channel_set, devices
from pipelines.faults.wild import Killed, RandomBanks, WildDisk
from pipelines.faults.witness import Broken, Witness
from sanstream import durable, shard
from sanstream.chunk import Chunk, Delivery, Event
from sanstream.config import ArchiveSettings, RetrainSettings, Settings
from sanstream.daemon import encoding
from sanstream.daemon.delete import delete_here
from sanstream.daemon.engine import Engine
from sanstream.daemon.inbox import FeedLink, Inbox
from sanstream.encode_live import Part
from sanstream.errors import InputError
from sanstream.feeds import FeedState

EVENING_NS = 1_767_225_600_000_000_000 + 22 * 3600 * 10**9
"""2026-01-01T22:00:00Z."""
SHARD_S = 300
SILENCES_S = (1.0, 20.0, 60.0, 60.0, 120.0, 300.0)
"""How long the world turns at a time; a day-long silence comes on top."""


@dataclass
class Life:
    """One engine's random life.

    Parameters
    ----------
    seed : int
    folder : Path
        Empty.
    turns : int
    """

    seed: int
    folder: Path
    turns: int = 60
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = rng = Random(self.seed)
        self.now_ns = EVENING_NS + int(rng.uniform(0, 7200) * 1e9)
        self.disk = WildDisk()
        self.devices = devices(rng)
        self.lossy = rng.random() < 0.4
        self.keep_s = 7200.0 if rng.random() < 0.25 else None
        self.reorder_s = rng.choice((0.0, 5.0, 60.0))
        self.journal_bytes = rng.choice((2000, 20_000, 1 << 24))
        self.witness = Witness(self.folder / "live.san", self.lossy, self.keep_s)
        self.witness.honest = {(d.recording, d.stream) for d in self.devices if d.clock == "exact"}
        self.unacknowledged: dict[int, tuple[Chunk | Event, ...]] = {}
        self._n_given = self._n_events = 0
        self.events: list[Event] = []
        self.skew_ns = 0
        """How far the machine's clock is off; a clock server sets it now and then."""
        self.pool = ThreadPoolExecutor(2) if rng.random() < 0.2 else None  # not together with kills within a turn
        self.engine: Engine | None = None
        self.in_space = True

    def clock(self) -> int:
        """Return the machine's idea of now, nanoseconds since 1970."""
        return self.now_ns + self.skew_ns

    def live(self) -> None:
        """Live to the end.

        Raises
        ------
        Broken
            When a promise is.
        """
        (self.folder / "state").mkdir(mode=0o700)
        self._open()
        for turn in range(self.turns):
            self.turn = turn
            self._one_turn()
        self.disk.left = self.disk.kill_in = None
        self.now_ns += 20 * 10**9
        self._insist(self._drain)
        assert self.engine is not None
        self.witness.check_end(self.engine, self.now_ns)

    def _one_turn(self) -> None:
        rng = self.random
        self._pass_time()
        if self.disk.left is not None and rng.random() < 0.3:
            self._say("space")
            self.disk.left = None
            self.now_ns += 10 * 10**9
        for _ in range(rng.choice((0, 0, 1, 2))):
            rng.choice(self.devices).trouble(self.now_ns)
        if rng.random() < 0.04:
            self._change_rate()
        if rng.random() < 0.1 and self.pool is None:
            self.disk.kill_in = rng.randrange(60)
        self._insist(self._work)
        self.disk.kill_in = None
        if rng.random() < 0.08:
            self._say("kill")
            self._kill()
        if rng.random() < 0.15:
            self.witness.check_meanwhile(self.now_ns)

    def _pass_time(self) -> None:
        rng = self.random
        seconds = rng.choice(SILENCES_S)
        if rng.random() < 0.02:
            seconds = rng.choice((4000.0, 90_000.0))
            for device in self.devices:
                device.reboot(self.now_ns + int(seconds * 1e9))
        self.now_ns += int(seconds * 1e9)
        self._say(f"+{seconds:g} s")
        if rng.random() < 0.03 and self.keep_s is None:
            self.skew_ns = int(rng.choice((-5000, -20, 0, 20, 5000)) * 1e9)
            self._say(f"clock set to {self.skew_ns / 1e9:+g} s")

    def _work(self) -> None:
        """Give what devices bring, turn the engine, and do what operators do."""
        rng, engine = self.random, self.engine
        assert engine is not None
        for device in self.devices:
            for chunk in device.produce(self.now_ns):
                self._give(chunk)
            if rng.random() < 0.2 and (old := device.again()) is not None:
                self._give(old)
        if rng.random() < 0.2 and self.witness.recordings:
            self._give_events()
        for _ in range(rng.choice((1, 1, 2, 5))):
            self._step()
        if rng.random() < 0.1 and self.disk.left is None:
            self._say("full")
            self.disk.left = rng.choice((0, rng.randrange(300), rng.randrange(20_000)))
        if self.disk.left is None:
            self._operate()

    def _operate(self) -> None:
        rng, engine = self.random, self.engine
        assert engine is not None
        if rng.random() < 0.05:
            self._say("compact")
            engine.compactor.all()
            engine.writer.know_all()
        if rng.random() < 0.03 and self.witness.recordings:
            self._delete(rng.choice(sorted(self.witness.recordings)))
        if rng.random() < 0.03 and self.witness.recordings:
            self._delete_part(rng.choice(sorted(self.witness.recordings)))
        if self.keep_s is not None and rng.random() < 0.1:
            self._say("retain")
            engine.retain()
        if rng.random() < 0.03:
            self._say("drain")
            self._drain()
            self._open()

    def _delete(self, recording: str) -> None:
        self._say(f"delete {recording}")
        kill, self.disk.kill_in = self.disk.kill_in, None  # what a cut-off deletion leaves is told elsewhere
        while len(self.inbox):
            self._step()
        self._step()
        assert self.engine is not None
        try:
            delete_here(self.engine, recording, None, None, dry_run=False)
        except InputError as error:
            if "no recording" not in str(error):
                raise
        self.disk.kill_in = kill
        self.witness.deleted(recording)
        self.events = [e for e in self.events if e.recording != recording]
        for device in self.devices:
            if device.recording == recording:
                device.begin(self.now_ns)

    def _delete_part(self, recording: str) -> None:
        rng = self.random
        start, stop = sorted((rng.randrange(9000), rng.randrange(9000)))
        self._say(f"delete {recording} from {start} s to {stop} s")
        kill, self.disk.kill_in = self.disk.kill_in, None
        while len(self.inbox):
            self._step()
        self._step()
        assert self.engine is not None
        dry = rng.random() < 0.3
        try:
            gone = delete_here(self.engine, recording, f"+{start}s", f"+{stop}s", dry_run=dry)
        except InputError as error:
            if "no whole segment" not in str(error) and "no recording" not in str(error):
                raise
            gone = {"samples": 0}
        self.disk.kill_in = kill
        self.witness.deleted_part(recording, 0 if dry else gone["samples"])

    def _drain(self) -> None:
        assert self.engine is not None
        self.now_ns += 10 * 10**9
        self.engine.drain()
        self.engine.close()
        self._check_refused()

    def _step(self) -> None:
        engine = self.engine
        assert engine is not None
        engine.step()
        self.now_ns += 10**8
        if engine.disk_full and self.disk.left is None:
            raise Broken("the engine says that the disk is full")
        self._check_refused()

    def _check_refused(self) -> None:
        if self.engine is not None and self.engine.sealer.refused and self.disk.left is None and not self.disk_was_full:
            raise Broken(f"the archive refused {self.engine.sealer.refused}: {self.refusals}")

    # --- messages

    def _give(self, *items: Chunk | Event) -> None:
        number, self._n_given = self._n_given, self._n_given + 1
        self.unacknowledged[number] = items
        items = tuple(replace(i, arrival_ns=self.clock()) if isinstance(i, Chunk) else i for i in items)
        for item in items:
            if isinstance(item, Chunk):
                self.witness.gave(item)
        self.inbox.put(Delivery(items, 100, lambda: self._acknowledged(number)))

    def _acknowledged(self, number: int) -> None:
        for item in self.unacknowledged.pop(number):
            self.witness.acknowledged(item, self.now_ns)

    def _give_events(self) -> None:
        rng = self.random
        if self.events and rng.random() < 0.3:
            self._give(rng.choice(self.events))
            return
        recording = rng.choice([*sorted(self.witness.recordings), "markers"])  # the last brings no samples
        fresh = []
        for _ in range(rng.choice((1, 3))):
            at = self.now_ns - int(rng.choice((1, 100, 5000)) * 1e9)
            fresh.append(Event(recording, "e", self._n_events, at, "alarm", f"VT {self._n_events}", 10**9))
            self._n_events += 1
        rng.shuffle(fresh)
        for event in fresh:
            self.events.append(event)
            self._give(event)

    def _change_rate(self) -> None:
        device = self.random.choice(self.devices)
        self._say(f"rate of {device.recording}/{device.stream}")
        self.witness.honest.discard((device.recording, device.stream))
        device.rate = self.random.choice([device.rate * 2, device.rate / 2])
        device.reboot(self.now_ns)
        device.held.clear()
        device.sent.clear()
        device.channels = channel_set(self.random)

    # --- processes

    def _insist(self, act: object) -> None:
        """Do something; start again where it is killed."""
        try:
            act()  # type: ignore[operator]
        except Killed:
            self._say("killed")
            self.disk.kill_in = None
            self._kill()
            if act == self._drain:
                self._drain()

    def _kill(self) -> None:
        """Drop the process; a broker gives what was not acknowledged once more."""
        self.engine = None
        gc.collect()
        self.witness.check_meanwhile(self.now_ns)
        self._open()
        for number, items in list(self.unacknowledged.items()):
            self.inbox.put(Delivery(items, 100, lambda number=number: self._acknowledged(number)))  # type: ignore[misc]

    def _open(self) -> None:
        self.disk_was_full = False
        if self.disk.left is not None:
            self.disk.left = None  # a daemon cannot begin on a full disk; it says so
        self.engine = None
        gc.collect()
        archive = ArchiveSettings(
            str(self.folder / "live.san"), self.folder / "state", effort="fast", keep_s=self.keep_s
        )
        quality = {"default": "max-error=4adu" if self.lossy else "lossless"}
        banks = RandomBanks(self.random)
        banks.keys = [(d.recording, d.stream) for d in self.devices]
        settings = Settings(archive, quality, retrain=RetrainSettings(mode="off"))
        self.engine = engine = Engine(settings, disk=self.disk, clock=self.clock, adapting=banks, pool=self.pool)
        engine.journal._file_bytes = self.journal_bytes
        self.refusals: list[str] = []
        commit = engine.archive.commit

        def watched(growth: object) -> object:
            try:
                return commit(growth)  # type: ignore[arg-type]
            except InputError as error:
                self.refusals.append(str(error))
                self.disk_was_full = self.disk_was_full or "no space" in str(error)
                if "no space" not in str(error):
                    raise Broken(f"the archive refused: {error}") from error
                raise

        engine.archive.commit = watched  # type: ignore[method-assign, assignment]
        self.inbox = Inbox("bed", can_wait=True, queue_s=1e9, max_bytes=1 << 40)
        engine.add_feed(FeedLink("bed", "sim", self.inbox, FeedState(connected=True), self.reorder_s))

    def _say(self, what: str) -> None:
        self.log.append(f"{getattr(self, 'turn', 0)}: {what}")


@contextmanager
def _short_shards_and_honest_encoder() -> Iterator[None]:
    """Make shards short, and a defect of the encoder, which the engine would pass over, a failure."""
    seconds, encode = shard._SHARD_SECONDS, vars(encoding)["encode_part"]

    def watched(part: Part) -> bytes:
        try:
            return bytes(encode(part))
        except Exception as error:
            raise Broken(f"the encoder failed: {error!r}") from error

    shard._SHARD_SECONDS = SHARD_S
    vars(encoding)["encode_part"] = watched
    try:
        yield
    finally:
        shard._SHARD_SECONDS = seconds
        vars(encoding)["encode_part"] = encode


def live(seed: int, folder: Path, turns: int = 60) -> Life:
    """Live one life.

    Raises
    ------
    Broken
        With the seed and what happened before.
    """
    life = Life(seed, folder, turns)
    with _short_shards_and_honest_encoder(), durable.using(life.disk):
        try:
            life.live()
        except Exception as error:
            happened = "\n  ".join(life.log[-25:])
            raise Broken(f"seed {seed}, turn {life.turn} of {turns}: {error}\n  {happened}") from error
        finally:
            life.engine = None
            if life.pool is not None:
                life.pool.shutdown()
    return life


def main() -> int:
    """Live many lives, and say which failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--keep-going", action="store_true")
    options = parser.parse_args()
    failed = []
    for seed in range(options.first, options.first + options.seeds):
        folder = Path(tempfile.mkdtemp(prefix="life-"))
        try:
            life = live(seed, folder, options.turns)
            print(f"seed {seed}: {life.witness.n_acknowledged} samples", file=sys.stderr)
        except Broken as error:
            failed.append(seed)
            print(error, file=sys.stderr)
            if not options.keep_going:
                traceback.print_exc()
                break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"lives": options.seeds, "first": options.first, "turns": options.turns, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
