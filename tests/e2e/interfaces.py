"""Interface packages that are built after Switchboard was: in a workspace of their own, into a prefix of their own."""

import ctypes
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "ros"
_CACHE = Path(os.environ.get("SWITCHBOARD_TEST_CACHE") or tempfile.gettempdir() + f"/switchboard-test-{os.getuid()}")


class Workspace:
    """An installed interface package. `change(folder)` may alter the copy of the sources before it is built."""

    def __init__(self, package, variant="", change=None):
        self.package = package
        source = FIXTURES / package
        key = hashlib.sha256(f"{variant} {os.environ['AMENT_PREFIX_PATH']} {sys.version}".encode())
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            key.update(str(file.relative_to(source)).encode() + b"\0" + file.read_bytes())
        self.prefix = _CACHE / f"{package}-{variant}{key.hexdigest()[:12]}"
        if not (self.prefix / "complete").exists():
            self._build(source, change)

    def _build(self, source, change):
        shutil.rmtree(self.prefix, ignore_errors=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "src"
            shutil.copytree(source, folder)
            if change:
                change(folder)
            build = Path(scratch) / "build"
            libraries = os.environ.get("LD_LIBRARY_PATH", "").replace(":", ";")
            for command in (
                ["cmake", "-S", folder, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
                 f"-DCMAKE_INSTALL_PREFIX={self.prefix}", f"-DCMAKE_INSTALL_RPATH={self.prefix}/lib;{libraries}"],
                ["cmake", "--build", build, "--parallel", str(os.cpu_count()), "--target", "install"],
            ):
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
                assert done.returncode == 0, done.stdout.decode(errors="replace")[-6000:]
        (self.prefix / "complete").touch()

    def environment(self):
        """What sourcing the workspace changes, for a program."""
        return {
            "AMENT_PREFIX_PATH": f"{self.prefix}:{os.environ['AMENT_PREFIX_PATH']}",
            "LD_LIBRARY_PATH": f"{self.prefix}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}",
        }

    def source(self):
        """What sourcing the workspace does, for this process and those that it starts from now on."""
        os.environ.update(self.environment())
        os.environ["PYTHONPATH"] = ":".join(filter(None, [str(self._python()), os.environ.get("PYTHONPATH", "")]))
        return self.load()

    def _python(self):
        # Distributions name the folder of Python packages in several ways.
        return next(path.parent.parent for path in self.prefix.rglob(f"{self.package}/__init__.py"))

    def load(self):
        """Makes the package known to this very process, and returns its modules msg, srv and action."""
        sys.path.insert(0, str(self._python()))
        # The loader looks these up by their bare names, and does not know the prefix; what is loaded already is found.
        for part in (
            "generator_c", "typesupport_introspection_c", "typesupport_introspection_cpp", "typesupport_fastrtps_cpp",
            "typesupport_fastrtps_c", "typesupport_c", "typesupport_cpp",
        ):
            ctypes.CDLL(f"{self.prefix}/lib/lib{self.package}__rosidl_{part}.so", mode=ctypes.RTLD_GLOBAL)
        return [importlib.import_module(f"{self.package}.{part}") for part in ("msg", "srv", "action")]
