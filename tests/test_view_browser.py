"""The viewer in a real browser: it opens, zooms, pans, and shows the beat that the Python API returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import beats
from servers import HEARS, program, wait_for

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream

RATE, SECONDS = 250, 120
HOLE = (100, 103)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1440,900"
).split()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = beats(SECONDS * RATE, 2, rate_hz=RATE, seed=3).astype(np.int32)
    x[:, 1] //= 3
    x[HOLE[0] * RATE : HOLE[1] * RATE] = -32768
    own = tuple(Channel(k, "mV", 200.0, 0, -2048, 2047, missing=-32768) for k in ("I", "II"))
    events = Annotations(
        "atr", {"time_ns": np.array([31 * 10**9, 110 * 10**9]), "text": np.array(["woke up", "slept"])}
    )
    stream = Stream("250hz", RATE * 1, (Segment(0, own, x),))
    path = tmp_path_factory.mktemp("browser") / "a.san"
    with ArchiveWriter(path) as writer:
        writer.add(Recording("bed-7", (stream,), 1_700_000_000 * 10**9, "utc", (events,)), ["prdn=5"])
        writer.commit()
    return path


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    command = [sys.executable, "-c", HEARS, "view", str(place), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        lines = "".join(iter(server.stdout.readline, "}\n")) + "}"
        yield json.loads(lines)["url"]
        server.send_signal(signal.SIGINT)
        _, told = server.communicate(timeout=20)
    assert (server.returncode, told.removeprefix("compiling loops, once after an installation\n")) == (0, "closed\n")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(program("chromedriver"), env={**os.environ, "HOME": str(tmp_path_factory.mktemp("home"))})
    made = webdriver.Chrome(options=options, service=service)
    yield made
    made.quit()


def settled(browser: Any) -> None:
    """Wait until all that is seen is drawn."""
    wait_for(lambda: browser.execute_script("return window.sanstream?.rows()[0]?.data.length > 1 && !sanstream.busy()"))


@pytest.fixture
def page(browser: Any, url: str) -> Any:
    browser.get("about:blank")
    browser.get(url)
    settled(browser)
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def seen(page: Any) -> list[float]:
    return list(page.execute_script("return [sanstream.view.from, sanstream.view.to]"))


def do(page: Any, script: str) -> None:
    before = seen(page)
    page.execute_script(script)
    wait_for(lambda: seen(page) != before, seconds=5)
    page.execute_script("return 0")
    wait_for(lambda: page.execute_script("return new Promise((d) => setTimeout(() => d(!sanstream.busy()), 80))"))


def key(page: Any, name: str) -> None:
    do(page, f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{name}', bubbles: true}}))")


def test_it_opens_without_its_token_in_the_address(page: Any) -> None:
    assert "token" not in page.current_url
    assert page.title == "bed-7 – sanstream"
    assert "2 channels" in page.find_element("id", "subtitle").text
    assert seen(page) == [0, 10]
    assert page.execute_script("return document.querySelectorAll('#rows canvas').length") == 2


def test_the_beat_that_is_shown_is_the_one_that_python_returns(page: Any, place: Path) -> None:
    do(page, "sanstream.set(30.5, 31.5)")
    row = page.execute_script("const d = sanstream.rows()[0].data; return [Array.from(d[0]), Array.from(d[1])]")
    with sanstream.open(place) as archive:
        x = archive.recordings["bed-7"].streams["250hz"].read(physical=True)[:, 0]
    at = np.round(np.array(row[0]) * RATE).astype(int)
    assert at.min() <= 30.5 * RATE
    assert at.max() >= 31.5 * RATE - 1
    np.testing.assert_allclose(row[1], x[at], atol=1e-6)
    assert np.ptp(row[1]) > 0.5, "a beat"


def test_keys_zoom_and_pan(page: Any) -> None:
    key(page, "+")
    assert seen(page) == [2.5, 7.5]
    key(page, "ArrowRight")
    assert seen(page) == [5, 10]
    key(page, "-")
    assert seen(page) == [2.5, 12.5]
    key(page, "0")
    assert seen(page) == [0, SECONDS]
    key(page, "1")
    assert seen(page) == [55, 65]


def test_keys_go_from_event_to_event_however_far(page: Any) -> None:
    key(page, "n")
    assert seen(page) == [26, 36]
    key(page, "n")
    assert seen(page) == [105, 115]
    key(page, "p")
    assert seen(page) == [26, 36]
    page.execute_script("document.querySelector('[data-do=on]').focus()")
    page.execute_script("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'p', bubbles: true}))")
    wait_for(lambda: "no event before" in page.find_element("id", "trouble").text, seconds=5)
    assert seen(page) == [26, 36]


def test_leads_have_one_scale_and_their_paper_unless_told_otherwise(page: Any) -> None:
    ranges = "return sanstream.rows().map((r) => r.plot.scales.y.max - r.plot.scales.y.min)"
    do(page, "sanstream.set(28, 32)")
    one, two = page.execute_script(ranges)
    assert one == pytest.approx(two, rel=1e-6)
    wide = page.execute_script("return [sanstream.rows()[0].boxes(), sanstream.rows()[0].plot.over.clientWidth]")
    assert wide[0] == pytest.approx(0.2 / 4 * wide[1], rel=0.01)
    assert "0.2 s × 0.5 mV, small ones" in page.find_element("id", "grid").text
    page.execute_script("document.querySelectorAll('#scales input').forEach((b) => b.click())")
    settled(page)
    wait_for(lambda: page.execute_script(ranges)[1] < 0.6 * one, seconds=5)
    assert page.execute_script("return sanstream.rows()[0].boxes()") == 0
    assert page.find_element("id", "grid").text == ""


def test_where_samples_are_missing_it_is_said(page: Any) -> None:
    do(page, "sanstream.set(95, 105)")
    wait_for(lambda: "no samples" in page.find_element("id", "marks").text, seconds=5)
    a, b = page.execute_script("return sanstream.holes()[0]")
    assert (a, b) == pytest.approx(HOLE, abs=0.03)
    row = page.execute_script("const d = sanstream.rows()[0].data; return [Array.from(d[0]), Array.from(d[1])]")
    assert {v for t, v in zip(*row, strict=True) if HOLE[0] + 0.1 < t < HOLE[1] - 0.1} == {None}


def test_fast_hands_pile_up_no_questions(page: Any) -> None:
    page.execute_script(
        "window.asked = []; const real = window.fetch; window.open_ = 0; window.most = 0;"
        "window.fetch = async (...a) => { open_ += 1; most = Math.max(most, open_); "
        "try { const r = await real(...a); asked.push(r.status); return r; } finally { open_ -= 1; } };"
    )
    for name in ["0", *"+" * 25]:
        page.execute_script(
            f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{name}', bubbles: true}}));"
            "return new Promise((done) => setTimeout(done, 45))"
        )
    settled(page)
    assert set(page.execute_script("return asked")) == {200}
    assert page.execute_script("return most") <= 12
    assert seen(page)[1] - seen(page)[0] < 0.1
    assert not page.find_element("id", "trouble").is_displayed()


def test_the_wheel_zooms_about_the_pointer(page: Any) -> None:
    do(
        page,
        "const n = document.querySelector('#rows'), b = sanstream.rows()[0].plot.over.getBoundingClientRect();"
        "n.dispatchEvent(new WheelEvent('wheel', {deltaY: -200, clientX: b.left + b.width / 4, "
        "bubbles: true, cancelable: true}))",
    )
    a, b = seen(page)
    assert b - a == pytest.approx(10 * np.exp(-2 / 3), rel=1e-3)
    assert a + (b - a) / 4 == pytest.approx(2.5, abs=0.01)


def touch(page: Any, kind: str, finger: int, x: float) -> str:
    return (
        f"document.querySelector('#rows').dispatchEvent(new PointerEvent('{kind}', {{pointerId: {finger}, "
        f"clientX: {x}, clientY: 300, bubbles: true, pointerType: 'touch', isPrimary: {str(finger == 1).lower()}}}));"
    )


def test_fingers_pan_and_pinch(page: Any) -> None:
    page.execute_script("Element.prototype.setPointerCapture = () => {}")  # of fingers that are not there
    do(page, "sanstream.set(40, 50)")
    left, width = page.execute_script(
        "const b = sanstream.rows()[0].plot.over.getBoundingClientRect(); return [b.left, b.width]"
    )
    do(page, touch(page, "pointerdown", 1, left + 600) + touch(page, "pointermove", 1, left + 600 - width / 10))
    assert seen(page) == pytest.approx([41, 51], abs=0.01)
    script = touch(page, "pointerdown", 2, left + 800 - width / 10) + touch(
        page, "pointermove", 2, left + 1000 - width / 10
    )
    do(page, script)
    a, b = seen(page)
    assert b - a == pytest.approx(5, abs=0.05)
    page.execute_script(touch(page, "pointerup", 1, 0) + touch(page, "pointerup", 2, 0))


def test_activations_kernels_figures_and_events_are_there(page: Any) -> None:
    do(page, "sanstream.set(28, 38)")
    found = page.execute_script("return sanstream.activations()")
    assert len(found["at"]) > 5
    cards = page.find_elements("css selector", "#gallery .card code")
    assert {c.text for c in cards} >= {uid[:12] for uid in found["kernel"]}
    assert page.execute_script("return sanstream.figures().map((r) => r.data[1].length)") == [6, 6, 6]
    assert "woke up" in page.find_element("id", "marks").text
    assert "22:13" in page.find_element("id", "marks").text, "the recording's own clock"


def test_times_along_the_axis_are_the_recordings_clock_and_leave_each_other_room(page: Any) -> None:
    shown = "return sanstream.rows().at(-1)?.plot?.axes[0]._values?.filter(Boolean) ?? []"
    assert page.execute_script(shown)[:2] == ["22:13:20", "22:13:21"]
    do(page, "sanstream.set(31, 32)")
    assert page.execute_script(shown)[0] == "22:13:51.000"
    key(page, "0")
    assert page.execute_script(shown)[0] == "22:13:20"
    page.find_element("id", "clock").click()
    wait_for(lambda: page.execute_script(shown)[:1] == ["0:00"], seconds=5)


def test_a_time_is_gone_to(page: Any) -> None:
    field = page.find_element("id", "goto")
    field.send_keys("22:14:20\n")
    wait_for(lambda: seen(page) == [55, 65], seconds=5)
    field.clear()
    field.send_keys("+30s\n")
    wait_for(lambda: seen(page) == [25, 35], seconds=5)
    field.clear()
    field.send_keys("soon\n")
    assert "is no time" in page.find_element("id", "trouble").text


def test_the_address_keeps_what_is_seen(page: Any, browser: Any) -> None:
    do(page, "sanstream.set(70, 75)")
    browser.refresh()
    settled(browser)
    assert seen(browser) == pytest.approx([70, 75], abs=0.01)


def test_layers_are_drawn_where_they_stand_and_kept_in_the_address(page: Any, browser: Any) -> None:
    do(page, "sanstream.set(30, 34)")
    page.execute_script("document.querySelectorAll('#layers input').forEach((b) => b.click())")
    settled(page)
    titles = [n.text for n in page.find_elements("css selector", "#rows .name b")]
    assert titles == ["I", "decoded − activations", "II", "decoded − activations"]
    wait_for(lambda: page.execute_script("return sanstream.rows()[0].data.length") == 3, seconds=5)
    at, kernels, decoded = page.execute_script("return sanstream.rows()[0].data.map((d) => Array.from(d))")
    peaks = page.execute_script("return sanstream.activations().at")
    level = np.median(kernels)
    for peak in peaks:
        near = [abs(k - level) for t, k in zip(at, kernels, strict=True) if abs(t - peak) < 0.1]
        assert max(near) > 0.3, "a beat is drawn where its activation stands"
    left = page.execute_script("return Array.from(sanstream.rows()[1].data[1])")
    base = page.execute_script("return Array.from(sanstream.rows()[1].data[0])")
    both = dict(zip(at, np.array(decoded) - np.array(kernels), strict=True))
    apart = np.array([both[t] - v for t, v in zip(base, left, strict=True)])
    assert np.ptp(apart) < 1e-5, "what activations leave is what is decoded less them"
    browser.refresh()
    settled(browser)
    assert set(browser.execute_script("return [...sanstream.view.layers]")) == {"kernels", "residual"}


def test_labels_stand_right_of_their_line(page: Any) -> None:
    page.execute_script(
        "window.drawn = []; const real = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (t, x, y) { drawn.push([t, x, this.textAlign]);"
        " return real.call(this, t, x, y); };"
    )
    do(page, "sanstream.set(30.9, 33)")
    wait_for(lambda: any(t == "woke up" for t, *_ in page.execute_script("return drawn")), seconds=5)
    assert {align for t, _, align in page.execute_script("return drawn") if t == "woke up"} == {"left"}


def test_on_a_phone_nothing_is_wider_than_the_screen_and_buttons_fit_a_thumb(page: Any, browser: Any) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.refresh()
        settled(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        buttons = "[...document.querySelectorAll('#tools button')]"
        small = f"return {buttons}.filter((b) => b.offsetParent && b.offsetHeight < 44).length"
        assert browser.execute_script(small) == 0
        assert browser.execute_script("return sanstream.rows()[0].plot.over.clientWidth") > 300
        browser.find_element("id", "menu").click()
        assert browser.find_element("css selector", "#list button").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_is_readable_in_the_dark(page: Any, browser: Any) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    try:
        colours = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    ink, back = (np.mean([int(v) for v in c[c.index("(") + 1 : -1].split(",")[:3]]) for c in colours)
    assert ink > 180
    assert back < 60
