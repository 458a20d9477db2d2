"""Take the pictures of docs/viewer.md: the viewer with simulated signals, on a desktop and on a phone.

Usage: python -m pipelines.screenshots [--to docs/viewer]    (needs Debian's chromium-driver and selenium)
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.paper.report import ROOT

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
ALL_LAYERS = "document.querySelectorAll('#layers input').forEach((b) => b.checked || b.click())"
DESKTOP, PHONE = (1440, 900, 1, False), (390, 844, 2, True)


def opened(url: str, size: tuple[int, int, int, bool], folder: Path, *, dark: bool = False) -> Any:
    """Open the page in a browser of a size."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    width, height, ratio, mobile = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    if dark:
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(url)
    return browser


def keep(png: bytes, path: Path) -> None:
    """Write a picture with as many colours as the page has, about."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Simulate, archive, serve, and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "viewer")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    run = [sys.executable, "-m", "sanstream"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        subprocess.run([*run, "simulate", "ecg", "--seconds", "1800", "--to", str(work / "sim")], check=True)
        archive = [*run, "archive", str(work / "sim" / "ecg"), "--to", str(work / "ecg.san"), "--quality", "prdn=9"]
        subprocess.run(archive, check=True)
        view = [*run, "view", str(work / "ecg.san"), "--original", str(work / "sim" / "ecg"), "--json"]
        with subprocess.Popen(view, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            url = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")["url"]
            shots = {
                "desktop": (DESKTOP, False, "sanstream.set(60, 70)"),
                "desktop-whole": (DESKTOP, True, "sanstream.set(0, 1800)"),
                "desktop-residual": (DESKTOP, False, f"{ALL_LAYERS}; sanstream.set(62, 67)"),
                "phone": (PHONE, False, "sanstream.set(60, 66)"),
            }  # fmt: skip
            for number, (name, (size, dark, script)) in enumerate(shots.items()):
                browser = opened(url, size, work / f"profile{number}", dark=dark)
                time.sleep(3)
                browser.execute_script(script)
                time.sleep(4)
                keep(browser.get_screenshot_as_png(), options.to / f"{name}.png")
                browser.quit()
            server.terminate()


if __name__ == "__main__":
    main()
