"""The contract tests of the verbs provider, built on this machine, against a guest's RDMA device."""

import json
import pathlib
import re
import shutil
import subprocess

from bench import require

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRATE = "rdma-verbs"
# What a device is known to do wrong, by its kind: lines of "clause: reason".
DEVIATIONS = str(ROOT / "engine" / CRATE / "tests" / "deviations-{}.txt")
# How the test harness tells of a test. The test may print something between.
TEST = re.compile(r"^test (?:verbs::)?(\S+) \.\.\. ", re.MULTILINE)
FAILURES = re.compile(r"^failures:\n((?:    \S+\n)+)\ntest result: ", re.MULTILINE)
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; .* (\d+) filtered out",
                    re.MULTILINE)
# What the clauses make the kernels' drivers say.
SAYS = {"siw": re.compile(r"siw: got TERMINATE|siw: siw_rx_umem: .*bogus addr"), "rxe": None}
# So many seconds may all clauses together take.
PATIENCE = 300


def programs():
    """Builds the crate's integration tests and returns their paths."""
    command = ["cargo", "test", "--locked", "--no-run", "--message-format=json", "-p", CRATE, "--test", "*"]
    build = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    require(build.returncode == 0, f"{' '.join(command)}:\n{build.stderr}")
    messages = map(json.loads, build.stdout.splitlines())
    tests = [message for message in messages if "test" in message.get("target", {}).get("kind", [])]
    return [pathlib.Path(message["executable"]) for message in tests if message.get("executable")]


def deviations(kind):
    """The clauses that a kind of device fails, with the reasons."""
    lines = pathlib.Path(DEVIATIONS.format(kind)).read_text().splitlines()
    entries = [line.partition(": ") for line in lines if line and not line.startswith("#")]
    for clause, _, reason in entries:
        require(clause and reason, f"{clause}: a deviation has a reason")
    return {clause: reason for clause, _, reason in entries}


def judge(kind, output):
    """Holds what a program printed against the list of deviations."""
    result = RESULT.search(output)
    require(result, f"the tests did not come to an end:\n{output}")
    passed, failed, ignored, filtered = map(int, result.groups())
    tests = TEST.findall(output)
    require(passed and not ignored and not filtered and len(tests) == passed + failed, f"not all tests ran:\n{output}")
    found = FAILURES.search(output)
    failures = {line.strip().removeprefix("verbs::") for line in found[1].splitlines()} if found else set()
    require(len(failures) == failed, f"the failures are not {failed}:\n{output}")
    known = deviations(kind)
    unknown = known.keys() - set(tests)
    require(not unknown, f"deviations of {kind} from clauses that are none: {' '.join(sorted(unknown))}")
    wrong = failures - known.keys()
    require(not wrong, f"{kind} fails {' '.join(sorted(wrong))}:\n{output}")
    right = known.keys() - failures
    require(not right, f"{kind} deviates no more, and is listed: {' '.join(sorted(right))}")
    return passed, failed


def run(bench, guest, kind, address):
    """Runs them in a guest, one test at a time: the device is slow and there is only one."""
    for program in programs():
        with bench.step(f"{CRATE}: {program.name.rsplit('-', 1)[0]}", SAYS[kind]):
            shutil.copy(program, guest.rig / "program")
            script = f"RUST_BACKTRACE=0 RDMA_VERBS_ADDRESS={address} /rig/program --test-threads=1 || true"
            passed, failed = judge(kind, guest.run(script, PATIENCE))
            print(f"         {passed} clauses kept, {failed} known deviations of {kind}", flush=True)
