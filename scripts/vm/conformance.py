"""The contract tests of the verbs provider, built on this machine, against a guest's RDMA device."""

import json
import pathlib
import shutil
import subprocess

from bench import require

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRATE = "rdma-verbs"


def programs():
    """Builds the crate's integration tests and returns their paths."""
    command = ["cargo", "test", "--locked", "--no-run", "--message-format=json", "-p", CRATE, "--test", "*"]
    build = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    require(build.returncode == 0, f"{' '.join(command)}:\n{build.stderr}")
    messages = map(json.loads, build.stdout.splitlines())
    return [pathlib.Path(message["executable"]) for message in messages if message.get("executable")]


def run(bench, guest, address):
    """Runs them in a guest, one test at a time: the device is slow and there is only one."""
    for program in programs():
        with bench.step(f"{CRATE}: {program.name.rsplit('-', 1)[0]}"):
            shutil.copy(program, guest.rig / "program")
            output = guest.run(f"RDMA_VERBS_ADDRESS={address} /rig/program --test-threads=1", 240)
            require("test result: ok. 0 passed" not in output, f"no test ran:\n{output}")
