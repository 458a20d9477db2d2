"""``durability = "remote"``: what is refused beforehand, and which limits of a broker ``--check`` names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
import pytest
from brokers import Broker, kafka_broker, mqtt_broker, nats_broker
from feed_cases import Running, recording

from sanstream.config import ArchiveSettings, FeedSettings, HttpSettings, Settings, feed_options
from sanstream.config_effective import effective
from sanstream.config_read import load_settings
from sanstream.daemon import check as checks
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish

SOURCE = recording()
HELD_S = 120


def read(folder: Path, more: str, feed: str = "sim:") -> Settings:
    path = folder / "ingest.toml"
    path.write_text(f'[archive]\nurl = "{folder / "live"}"\ndurability = "remote"\n{more}[[feed]]\nurl = "{feed}"\n')
    return load_settings(path)


def test_remote_includes_shared_and_reads_back_the_same(tmp_path: Path) -> None:
    settings = read(tmp_path, "")
    assert settings.archive.shared
    assert settings.archive.until_archived
    assert feed_options(settings, settings.feeds[0]).held_s == HELD_S
    text = effective(settings)
    assert 'durability = "remote"\n' in text
    assert read(tmp_path, 'seal = "10m"\n').archive.held_s == 660
    (tmp_path / "again.toml").write_text(text)
    assert load_settings(tmp_path / "again.toml") == settings
    local = ArchiveSettings("a", tmp_path)
    assert (local.durability, local.shared, local.until_archived) == ("local", False, False)


def test_remote_without_sharing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shared = false with durability = 'remote'") as refused:
        read(tmp_path, "shared = false\n")
    assert "leave shared out" in (refused.value.hint or "")
    with pytest.raises(InputError, match="durability: 'uploaded'"):
        load_settings(_written(tmp_path, 'durability = "uploaded"'))


def _written(folder: Path, line: str) -> Path:
    path = folder / "wrong.toml"
    path.write_text(f'[archive]\nurl = "{folder / "live"}"\n{line}\n')
    return path


def test_mllp_is_refused_since_its_senders_wait(tmp_path: Path) -> None:
    settings = read(tmp_path, "", "mllp://127.0.0.1:0")
    with pytest.raises(InputError, match="would wait up to 120 s for each") as refused:
        checks.built(settings, settings.feeds[0])
    assert 'durability = "local"' in (refused.value.hint or "")


def test_check_warns_of_feeds_that_send_nothing_again(tmp_path: Path) -> None:
    archive = ArchiveSettings(str(tmp_path / "a"), tmp_path / "s", durability="remote")
    settings = Settings(archive, feeds=(FeedSettings("beds", "sim://ecg?seconds=1"),), http=HttpSettings(listen=""))
    (found,) = [f for f in checks.check(settings) if "state folder alone" in f.text]
    assert (found.state, found.text.partition(":")[0]) == ("warning", "feed beds")


def held(url: str, **options: object) -> list[str]:
    return make_feed(FeedOptions("ward", url, options=options, held_s=HELD_S)).check()


def test_nats_says_how_many_messages_wait_and_fails_where_that_is_too_many(tmp_path: Path) -> None:
    with nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        publish(SOURCE, PublishOptions(url, create=True), speed=0)
        (line,) = [k for k in held(url) if "acknowledged after" in k]
        assert "of 262144 that may; every 150 s" in line
        assert "40 at the present rate" in line  # all of them came within two minutes
        with pytest.raises(InputError, match="40 at a time; max_ack_pending is 39") as refused:
            held(url, max_ack_pending=39)
        assert "set max_ack_pending = 80" in (refused.value.hint or "")
        assert held(url, max_ack_pending=40)
        assert all(limits(broker, "ack_wait 300", "max_ack_pending 262144"))
        assert all(limits(broker, "ack_wait 30", "max_ack_pending 65536", held_s=0))


def limits(broker: Broker, *words: str, held_s: int = HELD_S) -> list[bool]:
    """Tell which words stand in what the check says of the consumer."""
    lines = make_feed(FeedOptions("ward", f"nats://127.0.0.1:{broker.port}", held_s=held_s)).check()
    (line,) = [k for k in lines if k.startswith("durable consumer")]
    return [word in line for word in words]


def test_nats_names_a_consumer_with_lower_limits_and_a_stream_that_forgets(tmp_path: Path) -> None:
    with nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        publish(SOURCE, PublishOptions(url, create=True), speed=0)
        with Running(url, max_ack_pending=7) as feed:
            feed.wait(40)
        lines = held(url)
        assert "consumer sanstream-ward has max_ack_pending 7 now; the start makes it 262144" in lines

        async def forget_soon() -> None:
            nc = await nats.connect(url)
            js = nc.jetstream()
            config = (await js.stream_info("sanstream")).config
            await js.update_stream(config.evolve(max_age=60, duplicate_window=10))
            await nc.close()

        asyncio.run(forget_soon())
        with pytest.raises(InputError, match="drops messages after 60 s; they wait up to 120 s") as refused:
            held(url)
        assert "max_age" in (refused.value.hint or "")


def test_mqtt_says_how_many_messages_it_can_hold(tmp_path: Path) -> None:
    with mqtt_broker(tmp_path / "mqtt") as broker:
        text = "\n".join(held(f"mqtt://127.0.0.1:{broker.port}"))
    assert "at most 546 messages a second, since 65535 may be unacknowledged" in text
    assert "max_inflight_messages (20) to 0" in text


def test_kafka_says_how_far_offsets_stay_behind() -> None:
    with kafka_broker() as address:
        publish(SOURCE, PublishOptions(f"kafka://{address}/ward"), speed=0)
        text = "\n".join(held(f"kafka://{address}/ward"))
    assert "offsets committed after the archive has the samples" in text
    assert "offsets stay up to 120 s behind" in text


@pytest.mark.parametrize(
    ("url", "password", "said"),
    [
        ("mqtt://broker.ward7.example/x", "", "samples and names cross the network unencrypted; use mqtts://"),
        ("nats://10.0.0.7:4222", "P", "samples, names and the password cross the network unencrypted; use natss://"),
        ("kafka://user@[2001:db8::1]:9092/x", "", "samples and names cross the network unencrypted; use kafkas://"),
        ("mqtts://broker.ward7.example/x", "P", ""),
        ("mqtt://127.0.0.1/x", "P", ""),
        ("nats://localhost:4222", "P", ""),
        ("lsl://EEG", "", ""),
        ("sim:", "", ""),
    ],
)
def test_check_warns_of_a_broker_elsewhere_without_tls(url: str, password: str, said: str) -> None:
    found = [f.text for f in checks._open_to_see(FeedSettings(name="icu", url=url, password_env=password))]
    assert len(found) == bool(said)
    assert all(said in text and text.startswith("feed icu: ") for text in found)
