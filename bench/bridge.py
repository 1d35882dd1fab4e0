"""One-way latency and throughput between the graphs of two robots: directly, through Switchboard, through zenoh.

Started by `./dev bench bridge`, which builds what it needs. Every figure comes from fresh processes, and the ways take
turns, so that what else the machine does meets all of them alike."""

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from processes import BenchError, Processes
from report import as_json, microseconds, summary, table
from systems import Direct, Programs, Switchboard, Zenoh

SYSTEMS = (Direct(), Switchboard(), Zenoh())
START_LIMIT = 30.0
"""Until an end has joined its graph [s]."""
FIRST_LIMIT = 30.0
"""Until the first message has found its way [s]."""
RUN_LIMIT = 90.0
"""For the messages that count [s]."""
QUIET_LIMIT = 40.0
"""Until the subscriber has told what came [s]: more than it waits for what is late."""


@dataclass(frozen=True)
class Row:
    """What is sent, for one row of the table."""

    name: str
    size: int
    """Content of a message [bytes]."""
    rate: float | None
    """Messages per second; None: as fast as the publisher is let."""
    count: int
    history: str = "keep-last"
    """Of both ends; KEEP_LAST has a depth of 10, as by default in ROS. Both are reliable."""

    @property
    def is_flood(self):
        return self.rate is None


ROWS = (
    Row("64B_500Hz", 64, 500, 2_000),
    Row("1KiB_500Hz", 1_024, 500, 2_000),
    Row("64KiB_100Hz", 65_536, 100, 400),
    Row("1KiB_flood_keep_all", 1_024, None, 20_000, "keep-all"),
    Row("1KiB_flood_keep_last", 1_024, None, 20_000),
    Row("1MB_30Hz", 1_000_000, 30, 150),
    Row("8MB_5Hz", 8_000_000, 5, 25),
)


def measure(row, system, programs, domains, folder):
    """One figure of one way, with processes of its own."""
    with Processes(folder) as processes:
        ends = system.start(processes, programs, domains)
        common = ["--count", row.count, "--history", row.history]
        subscriber = processes.start(
            "subscriber",
            [programs.endpoint(), "subscribe", "--topic", ends.subscribe_topic, *common],
            ends.subscribe_domain,
        )
        subscriber.event("ready", START_LIMIT)
        rate = [] if row.rate is None else ["--rate", row.rate]
        publisher = processes.start(
            "publisher",
            [programs.endpoint(), "publish", "--topic", ends.publish_topic, "--size", row.size, *common, *rate],
            ends.publish_domain,
        )
        publisher.event("ready", START_LIMIT)
        subscriber.event("first", FIRST_LIMIT)
        publisher.say("go")
        sent = publisher.event("sent", RUN_LIMIT)
        subscriber.say(sent["sent"])
        received = subscriber.event("received", QUIET_LIMIT)
        publisher.say("end")
    return {**without_event(received), "sent": sent["sent"], "publish_s": round(sent["seconds"], 3)}


def without_event(fields):
    return {key: value for key, value in fields.items() if key != "event"}


def run(options):
    programs = Programs(options.switchboard, options.programs)
    systems = [system for system in SYSTEMS if system.key not in options.without]
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    repetitions = options.repeat
    if options.quick:
        rows, repetitions = [replace(row, count=max(10, row.count // 5)) for row in rows], options.repeat or 1
    repetitions = repetitions or 3
    domains = [options.domain, options.domain + 1, options.domain + 2]
    outcome = []
    for row in rows:
        runs = {system.key: [] for system in systems}
        for repetition in range(repetitions):
            for system in systems:
                note = f"{row.name}, {system.title}, {repetition + 1} of {repetitions}"
                print(f"{note}: ", end="", file=sys.stderr, flush=True)
                figure = attempt(row, system, programs, domains)
                runs[system.key].append(figure)
                print(brief(figure), file=sys.stderr, flush=True)
        outcome.append((row, {key: summary(figures) for key, figures in runs.items()}))
    print(table(outcome, systems))
    print(
        f"\nOne way, {repetitions} repetition{'s' if repetitions > 1 else ''} with fresh processes each. Times and rates are"
        " medians,\nwhat was delivered is of the worst repetition. All ends are reliable, on this machine, loopback only."
    )
    if options.json:
        options.json.write_text(json.dumps(as_json(outcome, repetitions), indent=1) + "\n")
    return all("error" not in run for _, figures in outcome for figure in figures.values() for run in figure["runs"])


def attempt(row, system, programs, domains):
    with tempfile.TemporaryDirectory(prefix="switchboard-bench-") as folder:
        try:
            return measure(row, system, programs, domains, Path(folder))
        except BenchError as error:
            return {"error": str(error)}


def brief(figure):
    if "error" in figure:
        return f"failed: {figure['error']}"
    p50, p99 = microseconds(figure["p50_us"]), microseconds(figure["p99_us"])
    return f"{figure['delivered']} of {figure['sent']}, p50 {p50}, p99 {p99}"


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench bridge", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    parser.add_argument(
        "--only", action="append", metavar="ROW", choices=[row.name for row in ROWS],
        help="this row; may be given several times: " + ", ".join(row.name for row in ROWS),
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="WAY", choices=[system.key for system in SYSTEMS],
        help="leave one way out: direct, switchboard or zenoh (which is then not built either)",
    )
    parser.add_argument("--repeat", type=positive, metavar="N", help="repetitions [default: 3]")
    parser.add_argument("--quick", action="store_true", help="one repetition with a fifth of the messages")
    parser.add_argument(
        "--domain", type=int, default=96, metavar="ID",
        help="the first of three ROS domains that nobody else uses [default: 96]",
    )
    parser.add_argument("--programs", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--switchboard", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json:
        options.json = Path(os.environ.get("CALLED_FROM", ".")) / options.json
    return options


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def main():
    # `kill` ends everything in order, as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return 0 if run(parse()) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
