"""What a JetStream stream and its consumer must allow so that messages may wait for the archive unacknowledged."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from math import ceil
from typing import Any

import nats.js.errors

from sanstream.errors import InputError
from sanstream.feeds.nats_pull import PullLimits

_LOOK_BACK = 1_000_000
"""Messages at most over which the rate is measured."""


async def check_held(js: Any, info: Any, durables: Sequence[str], limits: PullLimits, held_s: int) -> list[str]:
    """Say what waiting for the archive asks of the server.

    Parameters
    ----------
    js : nats.js.JetStreamContext
    info : nats.js.api.StreamInfo
    durables : sequence of str
        The feed's consumers, one for each partition.
    limits : PullLimits
        That they will have.
    held_s : int
        Seconds for which a message waits.

    Raises
    ------
    InputError
        When the stream or the configuration allows less.
    """
    name, most = info.config.name, limits.max_ack_pending
    if info.config.max_age and info.config.max_age <= held_s:
        raise InputError(
            f"stream {name} drops messages after {info.config.max_age:g} s; they wait up to {held_s} s for the archive",
            hint=f"give it a max_age well above {held_s} s, as long as a daemon may be away",
        )
    allowed = getattr(info.config.consumer_limits, "max_ack_pending", None) or most
    if allowed < most:
        raise InputError(
            f"stream {name} allows its consumers max_ack_pending {allowed}, the feed asks for {most}",
            hint="raise the stream's consumer_limits, or set max_ack_pending in the feed to what it allows",
        )
    rate = await _rate(js, info) / len(durables)
    # a file that was published at once is no rate that goes on
    needed = ceil(min(rate * held_s, info.state.messages / len(durables)))
    if needed > most:
        raise InputError(
            f"stream {name}: {rate:.4g} messages a second wait up to {held_s} s for the archive, {needed} at a time;"
            f" max_ack_pending is {most}, and beyond it the server sends no more",
            hint=f"set max_ack_pending = {2 * needed}, or send longer messages",
        )
    lines = [
        f"acknowledged after the archive has them: messages wait up to {held_s} s, {needed} at the present rate of"
        f" {rate:.4g} a second, of {most} that may; every {limits.ack_wait_s / 2:g} s the server is told that they are"
        " in progress"
    ]
    for durable in durables:
        with contextlib.suppress(nats.js.errors.NotFoundError):
            held = (await js.consumer_info(name, durable)).config
            if (held.max_ack_pending or most) < most:
                lines.append(
                    f"consumer {durable} has max_ack_pending {held.max_ack_pending} now; the start makes it {most}"
                )
    return lines


async def _rate(js: Any, info: Any) -> float:
    """Return how many messages a second came lately; 0 where that cannot be told."""
    last = info.state.last_seq
    first = max(info.state.first_seq, last - _LOOK_BACK)
    if info.state.messages < 2 or first >= last:
        return 0.0
    try:
        begin, end = [(await js.get_msg(info.config.name, seq=number)).time for number in (first, last)]
    except nats.js.errors.Error:  # removed on its own
        return 0.0
    seconds = (end - begin).total_seconds()
    return float((last - first) / seconds) if seconds > 0 else 0.0
