"""The programs under test as child processes, each ended by its own id whatever happens to the test."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from waiting import wait_for

_LOG_TAIL = 12_000


def install_prefix():
    """Where the package is installed: SWITCHBOARD_PREFIX, or the ament prefix that holds it."""
    candidates = [os.environ.get("SWITCHBOARD_PREFIX", "")] + os.environ.get("AMENT_PREFIX_PATH", "").split(":")
    for candidate in filter(None, candidates):
        prefix = Path(candidate)
        if (prefix / "lib/switchboard/server").is_file():
            return prefix
    raise FileNotFoundError(
        "the programs of switchboard are not installed; build the package, source it, or set SWITCHBOARD_PREFIX "
        "to the prefix that holds lib/switchboard/server"
    )


def program(name):
    return str(install_prefix() / "lib/switchboard" / name)


def environment(domain, home, **extra):
    """The environment of a program in the ROS graph `domain`, with files under `home` only."""
    own = {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_HOME": str(home),
        "ROS_LOG_DIR": str(home / "log"),
        "RUST_BACKTRACE": "1",
        **extra,
    }
    inherited = {name: value for name, value in os.environ.items() if name not in ("ROS_LOCALHOST_ONLY", "RUST_LOG")}
    return {**inherited, **own}


class Process:
    """One program. It dies with the test process, even if that is killed."""

    def __init__(self, name, arguments, env, log):
        self.name = name
        self.arguments = [str(argument) for argument in arguments]
        self.env = env
        self.log = Path(log)
        self.starts = 0
        self._child = None

    def start(self):
        assert not self.is_running(), f"{self.name} runs already"
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts}: {' '.join(self.arguments)}\n".encode())
            log.flush()
            self._child = subprocess.Popen(
                guard + self.arguments, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    @property
    def pid(self):
        return self._child.pid

    def is_running(self):
        return self._child is not None and self._child.poll() is None

    def signal(self, number):
        assert self.is_running(), f"{self.name} has ended with {self._child and self._child.returncode}"
        self._child.send_signal(number)

    def kill(self):
        """kill -9, and wait for the end."""
        if self.is_running():
            self._child.kill()
        if self._child is not None:
            self._child.wait()

    def stop(self, limit=15):
        """Ctrl-C, and the exit code."""
        self.signal(signal.SIGINT)
        return self.wait(limit)

    def wait(self, limit=30):
        try:
            return self._child.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {limit} s") from None

    def resident_bytes(self):
        """Memory of the process that is in RAM (VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has no VmRSS")

    def peak_bytes(self):
        """The most that it ever had in RAM (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has no VmHWM")

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for_output(self, text, limit=30):
        wait_for(lambda: text in self.output(), lambda: f"{text!r} in the log of {self.name}", limit)

    def tail(self):
        return self.output()[-_LOG_TAIL:]


class Processes:
    """Every process of a test or a module of tests."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.all = []

    def new(self, name, arguments, domain, **extra):
        home = self.folder / "ros_home" / name
        home.mkdir(parents=True, exist_ok=True)
        process = Process(name, arguments, environment(domain, home, **extra), self.folder / f"{name}.log")
        self.all.append(process)
        return process

    def end(self):
        for process in reversed(self.all):
            process.kill()

    def logs(self):
        return [(process.name, process.tail()) for process in self.all]

    def panics(self):
        """Lines of the logs that no program may write."""
        words = ("panicked at", "RUST_BACKTRACE", "SIGSEGV", "double free", "AddressSanitizer")
        return [
            f"{process.name}: {line}"
            for process in self.all
            for line in process.output().splitlines()
            if any(word in line for word in words)
        ]
