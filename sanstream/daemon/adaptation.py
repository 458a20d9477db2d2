"""Kernels that follow the signal: streams watched, challenges held one at a time, winners handed to the engine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from sanstream.bank import find_bank
from sanstream.daemon.adaptation_stream import Limits, ObservedBlock, StreamWatch, Wanted, new_watch
from sanstream.daemon.audit import Audit
from sanstream.daemon.pins import CURRENT, Pins, pins_stamp, read_pins
from sanstream.daemon.sights import Sights
from sanstream.daemon.training import InlineTraining, ProcessTraining, Training
from sanstream.drift import Alarm, DriftWatch
from sanstream.durable import Disk, DiskFull
from sanstream.encode_live import LiveStart, shipped_start
from sanstream.errors import SanstreamError
from sanstream.quality import Quality
from sanstream.reservoir import Key, Reservoir
from sanstream.retrain import Decision
from sanstream.retrain_job import channels_tag, decision_of
from sanstream.signal import Channel

__all__ = ["Adaptation", "Adopted", "ObservedBlock"]

AUTO, SHADOW, OFF = "auto", "shadow", "off"
_STREAM_BYTES = 64 << 20
_PINS_NS, _SAVE_NS = 10**9, 10 * 10**9


@dataclass(frozen=True)
class Adopted:
    """A stream whose next block should open a new segment.

    Parameters
    ----------
    key : (str, str)
    reason : str
        ``"repays"``, ``"pinned"``, ``"unpinned"`` or ``"rolled back"``.
    start : LiveStart or None
        What :meth:`Adaptation.start_for` gives from now on; None for the shipped bank.
    figures : dict
        Of the challenge.
    """

    key: Key
    reason: str
    start: LiveStart | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


class Adaptation:
    """Watches all streams of a daemon and gives them better kernels.

    Nothing here is needed to recover samples: a crash costs at most a decision, which is then taken again.

    Parameters
    ----------
    settings : Limits
        ``[retrain]`` of the configuration.
    state_dir : Path
        Holds ``adaptation.json`` (what each stream runs), ``drift.json`` (the watches, written at the end),
        ``audit.jsonl``, ``pins.json`` and ``reservoir/``.
    disk : Disk
    clock : callable
        Nanoseconds since 1970; signal time, not this, counts for cool-down and limits.
    inline : bool
        Look and train in the caller's thread, for tests.
    training : Training, optional
        Stands in for the trainer, for tests.
    """

    def __init__(
        self, settings: Limits, state_dir: Path, disk: Disk, clock: Callable[[], int], *, inline: bool = False,
        training: Training | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.state_dir, self._disk, self._clock = settings, state_dir, disk, clock
        self.reservoir = Reservoir(
            state_dir / "reservoir",
            stream_bytes=min(_STREAM_BYTES, settings.reservoir_bytes),
            total_bytes=settings.reservoir_bytes,
        )
        self.audit = Audit(state_dir, disk)
        self.sights = Sights(inline=inline)
        self.training: Training = training or (InlineTraining() if inline else ProcessTraining())
        self._subject: tuple[StreamWatch, Wanted] | None = None
        self._pins, self._pins_stamp, self._pins_ns = Pins(), (0, 0), 0
        self._saved_ns = 0
        self._news: list[tuple[Key, str, str]] = []
        self._unsaved = False
        self._streams = self._load()

    # --- what the engine asks

    def observe(self, key: Key, block: ObservedBlock) -> None:
        """Take a committed block: it is queued, and looked at beside the loop."""
        stream = self._streams.get(key)
        if stream is None or stream.plan is not block.plan:
            stream = self._stream(key, block.channels, block.rate)
        self.sights.put(stream.glance(block))

    def start_for(
        self, key: Key, channels: Sequence[Channel], rate: Fraction, qualities: Sequence[Quality]
    ) -> LiveStart:
        """Return what the next segment of a stream starts from: its pin, what it adopted, else the shipped bank."""
        stream = self._streams.get(key)
        pin = self._pins.banks.get(f"{key[0]}/{key[1]}", "")
        if pin and pin != CURRENT:
            with contextlib.suppress(SanstreamError):
                return LiveStart(find_bank(pin))
        if stream is None or stream.adopted is None or stream.tag != channels_tag(channels, rate):
            return shipped_start(channels)
        return stream.adopted

    def poll(self) -> list[Adopted]:
        """Go on with everything; returns the streams whose next block should open a new segment."""
        out = self._read_pins()
        for seen in self.sights.take():
            stream = self._streams.get(seen.glance.key)
            if stream is None:
                continue
            alarm = stream.take(seen)
            if alarm is not None:
                self._alarmed(stream, alarm)
            if self.settings.mode != OFF:
                kept = stream.stretch(seen, len(self.reservoir.times(stream.key)))
                if kept is not None:
                    self.reservoir.put(stream.key, kept)
                stream.want()
        if self.settings.mode != OFF:
            out += self._train()
        if self._unsaved and abs(self._clock() - self._saved_ns) > _SAVE_NS:
            self._save()
        return out

    def state(self, key: Key) -> dict[str, Any]:
        """Return what the status says of a stream: how its drift stands, phi, and counts."""
        stream = self._streams.get(key)
        if stream is None:
            return {"drift": OFF if self.settings.mode == OFF else "quiet", "phi": None, "alarms": 0, "retrained": 0}
        phi = None if stream.watch is None else stream.watch.phi
        return {"drift": self._word(stream), "phi": phi, "alarms": stream.n_alarms, "retrained": stream.n_retrained}

    def has_changed(self, key: Key) -> bool:
        """Tell whether a stream waits for a training because its signal changed."""
        return key in self._streams and self._streams[key].has_changed

    def news(self) -> list[tuple[Key, str, str]]:
        """Return what happened since the last call, for counters: (key, ``"alarm"`` or ``"retraining"``, which)."""
        out, self._news = self._news, []
        return out

    def forget(self, recording: str, from_ns: int | None = None, until_ns: int | None = None) -> int:
        """Forget a recording, or its raw samples of a stretch of time; returns stretches removed."""
        n = self.reservoir.delete(recording, from_ns, until_ns)
        if from_ns is None and until_ns is None:
            self._drop([k for k in self._streams if k[0] == recording])
            self.audit.keep(lambda row: row.get("recording") != recording)
        return n

    def retain(self, until_ns: int) -> int:
        """Forget raw samples from before a time, and streams that ended before it; returns stretches removed."""
        n = self.reservoir.drop_before(until_ns)
        self._drop([k for k, s in self._streams.items() if 0 < s.now_ns < until_ns])
        return n

    def close(self) -> None:
        """End threads and processes, and write down how every watch stands."""
        self.training.close()
        self.sights.close()
        watches = {s.name: s.watch.state() for s in self._streams.values() if s.watch is not None}
        with contextlib.suppress(DiskFull):
            if watches:
                self._disk.replace(self._path("drift"), json.dumps(watches).encode(), "drift.data", mode=0o600)
            self._save()
        self.audit.close()

    # --- streams

    def _stream(self, key: Key, channels: Sequence[Channel], rate: Fraction) -> StreamWatch:
        """Return a stream's watch; a new one where it is new or its channels changed: kernels would not fit."""
        stream = self._streams.get(key)
        if stream is None or stream.tag != channels_tag(channels, rate):
            stream = new_watch(key, channels, rate, self.settings.delta)
            self._streams[key] = stream
            stream.pinned = self._pins.banks.get(stream.name, "")
            self._unsaved = True
        return stream

    def _word(self, stream: StreamWatch) -> str:
        if stream.pinned:
            return "pinned"
        if self.settings.mode == OFF:
            return OFF
        if stream.training:
            return "training"
        if stream.wanted is not None and stream.wanted.alarm is not None:
            return "alarmed"  # whether its challenge must still wait or not
        return "cooling" if stream.cooling(self.settings) else "quiet"

    def _alarmed(self, stream: StreamWatch, alarm: Alarm) -> None:
        self._news.append((stream.key, "alarm", alarm.figure.split()[0]))
        self._unsaved = True

    # --- challenges

    def _train(self) -> list[Adopted]:
        out = []
        result = self.training.result()
        if result is not None and self._subject is not None:
            out += self._judge(*self._subject, result)
            self._subject = None
        if not self.training.busy:
            waiting = [s for s in self._streams.values() if s.wanted is not None]
            ready = [s for s in waiting if s.may_train(self.settings, self.reservoir.times(s.key))]
            if ready:
                stream = min(ready, key=lambda s: s.wanted.since_ns if s.wanted is not None else 0)
                assert stream.wanted is not None
                stream.training, self._subject = True, (stream, stream.wanted)
                self.training.begin(stream.job(self.reservoir.folder))
        return out

    def _judge(self, stream: StreamWatch, wanted: Wanted, result: Mapping[str, Any]) -> list[Adopted]:
        stream.training = False
        self._disk.reach("retrain.trained")
        if self._streams.get(stream.key) is not stream:
            return []  # forgotten meanwhile: not even a row
        if stream.wanted is not wanted or stream.pinned:
            return self._written(stream, "stale", wanted.why, "the stream changed or was pinned meanwhile")
        stream.challenged_ns, stream.wanted = stream.now_ns, None
        failed = str(result.get("failed", ""))
        decision = Decision(False, failed) if failed else decision_of(result)
        stream.settled = stream.settled or decision.learned is not None
        running = LiveStart(stream.plan.bank, stream.plan.kernels) if stream.plan is not None else None
        word = "failed" if failed else "kept"
        if decision.start is not None and running is not None:
            word = "adopted" if self.settings.mode == AUTO else SHADOW
        uids = [] if decision.learned is None else [k.uid for k in decision.learned.leading().kernels]
        self._written(stream, word, wanted.why, decision.reason, decision.figures, alarm=wanted.alarm, kernels=uids)
        self._disk.reach("retrain.adopted")
        stream.learn(decision.learned)
        if word == SHADOW:
            stream.count()
        if word != "adopted" or decision.start is None or running is None:
            return []
        stream.n_retrained += 1
        stream.adopt(decision.start, running)
        self._save()
        return [Adopted(stream.key, decision.reason, decision.start, decision.figures)]

    def _written(
        self, stream: StreamWatch, word: str, why: str, reason: str, figures: Mapping[str, Any] | None = None, *,
        alarm: Alarm | None = None, kernels: Sequence[str] = (),
    ) -> list[Adopted]:  # fmt: skip
        """Write an audit row; a full disk costs the row, not the daemon."""
        row: dict[str, Any] = {
            "time_ns": self._clock(), "signal_ns": stream.now_ns, "recording": stream.key[0], "stream": stream.key[1],
            "decision": word, "why": why, "reason": reason, "figures": dict(figures or {}), "kernels": list(kernels),
        }  # fmt: skip
        if alarm is not None:
            row["alarm"] = {"figure": alarm.figure, "window": alarm.window, **alarm.shift.__dict__}
        with contextlib.suppress(DiskFull):
            self.audit.write(row)
        if why:
            self._news.append((stream.key, "retraining", word))
        self._unsaved = True
        return []

    # --- pins

    def _read_pins(self) -> list[Adopted]:
        now = self._clock()
        if abs(now - self._pins_ns) < _PINS_NS:
            return []
        self._pins_ns = now
        stamp = pins_stamp(self.state_dir)
        if stamp == self._pins_stamp:
            return []
        self._pins_stamp, self._pins = stamp, read_pins(self.state_dir)
        return [change for s in list(self._streams.values()) for change in self._obey(s)]

    def _obey(self, stream: StreamWatch) -> list[Adopted]:
        """Bring a stream to what the pins ask."""
        out = []
        pin = self._pins.banks.get(stream.name, "")
        if pin != stream.pinned:
            moved = {pin, stream.pinned} - {"", CURRENT}
            stream.pinned = pin
            word = "pinned" if pin else "unpinned"
            self._written(stream, word, "", pin)
            if moved:
                out.append(Adopted(stream.key, word, stream.adopted))
        asked = self._pins.rollbacks.get(stream.name, 0)
        if asked > stream.n_rolled:
            stream.n_rolled = asked
            if stream.previous:
                stream.adopted = stream.previous.pop()
                stream.count()
                stream.learn(stream.adopted.kernels)
                self._written(stream, "rolled back", "", "asked for")
                out.append(Adopted(stream.key, "rolled back", stream.adopted))
        return out

    # --- what is kept

    def _path(self, name: str) -> Path:
        return self.state_dir / f"{name}.json"

    def _save(self) -> None:
        self._saved_ns = self._clock()
        data = {"version": 1, "streams": {s.name: s.to_dict() for s in self._streams.values()}}
        with contextlib.suppress(DiskFull):
            self._disk.replace(self._path("adaptation"), json.dumps(data).encode(), "adaptation.data", mode=0o600)
            self._unsaved = False

    def _load(self) -> dict[Key, StreamWatch]:
        """Read what a daemon before kept; what cannot be read is begun anew, nothing rests on it."""
        out: dict[Key, StreamWatch] = {}
        for name, data in self._read("adaptation").get("streams", {}).items():
            recording, _, stream = name.partition("/")
            with contextlib.suppress(ValueError, KeyError, TypeError, SanstreamError):
                out[recording, stream] = StreamWatch.from_dict((recording, stream), data, self.settings.delta)
        self._pins = read_pins(self.state_dir)  # steps back that were asked for meanwhile are taken by the first poll
        for stream_watch in out.values():
            stream_watch.pinned = self._pins.banks.get(stream_watch.name, "")
        for name, data in self._read("drift").items():
            recording, _, stream = name.partition("/")
            if (recording, stream) in out:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    out[recording, stream].watch = DriftWatch.from_state(data, delta=self.settings.delta)
        self._disk.remove(self._path("drift"))  # true only for the moment that it was written at
        return out

    def _read(self, name: str) -> dict[str, Any]:
        try:
            data = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _drop(self, keys: Sequence[Key]) -> None:
        for key in keys:
            del self._streams[key]
        if keys:
            self._save()
