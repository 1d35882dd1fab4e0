"""The message, service and action types of the tests, built from tests/ros/test_interfaces when they are first needed:
types that Switchboard was not compiled with."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "ros" / "test_interfaces"


def build(folder):
    """Builds and installs them below `folder`, for this process and those that it starts. Takes half a minute."""
    prefix = folder / "install"
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").replace(":", ";")
    for command in (
        ["cmake", "-S", SOURCE, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
         f"-DCMAKE_PREFIX_PATH={prefixes}", f"-DCMAKE_INSTALL_PREFIX={prefix}"],
        ["cmake", "--build", folder / "build", "--parallel", "2", "--target", "install"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    # Distributions name the folder of Python packages in several ways.
    python = next(path.parent.parent for path in prefix.rglob("switchboard_test_interfaces/__init__.py"))
    for name, first in (("AMENT_PREFIX_PATH", prefix), ("LD_LIBRARY_PATH", prefix / "lib"), ("PYTHONPATH", python)):
        os.environ[name] = ":".join(filter(None, [str(first), os.environ.get(name, "")]))
    sys.path.insert(0, str(python))
    _load(sorted((prefix / "lib").glob("*.so")))


def _load(libraries):
    """The loader of a running process does not look at LD_LIBRARY_PATH again, but it finds what is loaded already."""
    while libraries:
        left, reasons = [], []
        for library in libraries:
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                left.append(library)
                reasons.append(str(error))
        assert len(left) < len(libraries), reasons
        libraries = left
