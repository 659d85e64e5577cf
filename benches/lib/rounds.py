"""Turns: every workload against everyone, right after each other, round after round."""

import sys
from typing import NamedTuple

import load
import tables


class Settings(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: int
    warmup: int
    realtime: bool


class Served:
    """A target under load from `isere perf` on another CPU."""

    def __init__(self, target, isere, cpu):
        self.target, self.isere, self.cpu = target, isere, cpu
        self.name = target.name

    @staticmethod
    def runs(_row):
        return True

    def version(self):
        self.target.resume()
        version = self.target.version()
        self.target.pause()
        return version

    def measure(self, row, settings):
        self.target.resume()
        sample = load.measure(self.isere, self.target, self.cpu, row, settings.seconds, settings.warmup,
                              settings.realtime)
        self.target.pause()
        return sample


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(competitors, rows, settings):
    """Samples by workload, name and round. The order of the competitors turns round from one round to the next."""
    samples = {row.key: {each.name: [] for each in competitors if each.runs(row)} for row in rows}
    for number in range(settings.rounds):
        order = competitors if number % 2 == 0 else competitors[::-1]
        for row in rows:
            if number >= row.max_rounds:
                continue
            for each in order:
                if each.runs(row):
                    sample = measure(each, row, settings)
                    samples[row.key][each.name].append(sample)
                    say(f"round {number + 1}/{settings.rounds}  {row.title:<36}{each.name:>14}  {brief(sample)}")
    return samples


def measure(competitor, row, settings):
    """One sample. A run that stalled is tried once more: hours of the others would be lost."""
    try:
        return competitor.measure(row, settings)
    except load.Stalled as problem:
        say(f"AGAIN  {row.title}, {competitor.name}: {problem}")
        return competitor.measure(row, settings)


def brief(sample):
    p50, p99 = (f"{sample[key]:>8.1f}" if sample[key] is not None else "       –" for key in ("p50_us", "p99_us"))
    noise = "  (not quiet)" if tables.is_noisy(sample) else ""
    return f"{sample['iops']:>12,.0f} IOPS  p50 {p50} µs  p99 {p99} µs{noise}"
