"""When, with which driver and which moec something was measured. No torch here."""

import datetime
import pathlib
import subprocess


def said(*command, **options):
    """A command's first line, or "" where it cannot be had."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, **options)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0]


def commit(moec):
    """Of a bundle's VERSION (tools/bundle) beside its bin/, else the program's own build id, which has a digest of what was not committed
    behind a dot, else of the checkout that these scripts are in; "" where there is none of them."""
    version = pathlib.Path(moec).resolve().parent.parent / "VERSION"
    if version.exists() and (text := version.read_text().strip()):
        return text
    _, _, build = said(moec, "--version").partition("+")
    known = build if build != "source" else ""  # what was built outside a checkout (cmake/BuildId.cmake)
    return known or said("git", "describe", "--always", "--dirty", cwd=pathlib.Path(__file__).parent)


def provenance(moec):
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit(moec),
            "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")}
