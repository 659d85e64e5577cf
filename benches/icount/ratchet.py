"""What each count may be at most: `ratchet.json`, which only goes down unless somebody says why not."""

import json
import pathlib
import platform
import re
import subprocess

PATH = pathlib.Path(__file__).resolve().parent / "ratchet.json"
# Above this share of what is allowed a count fails; below that one it is time to lower what is allowed.
TOLERANCE, SLACK = 0.005, 0.02
# Small counts may differ by this much all the same.
LEAST = 0.5


def toolchain(program):
    """What counts depend on beside the source."""
    told = subprocess.run([str(program), "features"], capture_output=True, text=True, check=True).stdout
    compilers = re.findall(rb"rustc version ([^\0]*)", pathlib.Path(program).read_bytes())
    return {
        "rustc": compilers[0].decode() if compilers else "unknown",
        "target": told.strip(),
        "libc": " ".join(platform.libc_ver()),
    }


def load():
    try:
        return json.loads(PATH.read_text())
    except FileNotFoundError:
        return {"toolchain": {}, "cases": {}, "raised": []}


def save(kept):
    PATH.write_text(json.dumps(kept, indent=2) + "\n")


def slip(allowed, share):
    return max(LEAST, allowed * share)


def check(counts, here):
    """(failures, hints) in words. On another toolchain failures are hints only."""
    kept = load()
    failures, hints = [], []
    for case, count in counts.items():
        allowed = kept["cases"].get(case)
        if allowed is None:
            failures.append(f"{case}: {count:.1f} instructions, and ratchet.json has no such case (run --ratchet)")
        elif count > allowed + slip(allowed, TOLERANCE):
            failures.append(f"{case}: {count:.1f} instructions, {allowed:.1f} are allowed")
        elif count < allowed - slip(allowed, SLACK):
            hints.append(f"{case}: {count:.1f} instructions, {allowed:.1f} are allowed: run --ratchet, and commit it")
    other = [f"{key} {here[key]} instead of {value}" for key, value in kept["toolchain"].items() if value != here[key]]
    if other and failures:
        hints += [f"not comparable, counted with {'; '.join(other)}", *failures]
        failures = []
    return failures, hints


def lower(counts, here):
    """Allows no more than was counted; returns what changed, in words."""
    kept, changes = load(), []
    if kept["toolchain"] not in ({}, here):
        raise SystemExit(f"ratchet.json is of another toolchain: {kept['toolchain']}; this one is {here}. To go on "
                         "with this one, count the same source with both, remove the file and run --ratchet")
    kept["toolchain"] = here
    for case, count in counts.items():
        allowed = kept["cases"].get(case)
        if allowed is None or count < allowed:
            kept["cases"][case] = round(count, 1)
            changes.append(f"{case}: {'new' if allowed is None else allowed} → {count:.1f}")
    save(kept)
    return changes


def raise_to(case, count, reason):
    """Allows more, for a reason that is kept."""
    kept = load()
    allowed = kept["cases"].get(case)
    kept["cases"][case] = round(count, 1)
    kept["raised"].append({"case": case, "from": allowed, "to": round(count, 1), "reason": reason})
    save(kept)
