"""Make a virtual environment full of `ros-jazzy-*` wheels a ROS 2 prefix that any program can build and link against.

Run by the environment's own interpreter. The wheels are made for Python programs and one middleware; three things are
in the way of everything else. Each cure can be applied again without harm.
"""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy


def link_the_middleware(lib: Path) -> None:
    """The wheels call Fast DDS directly; rcl clients such as r2r link the switch in front of it."""
    switch = lib / "librmw_implementation.so"
    if not switch.exists():
        switch.unlink(missing_ok=True)
        switch.symlink_to("librmw_fastrtps_cpp.so")


def free_from_libpython(lib: Path, patchelf: Path) -> int:
    """librcl and others name the Python bindings as needed libraries, which need symbols of libpython, so that a
    program that is not Python dies while loading (`undefined symbol: PyExc_RuntimeError`)."""
    mended = 0
    for path in sorted(lib.glob("*.so")):
        if path.is_symlink() or path.name.endswith("__rosidl_generator_py.so"):
            continue
        needed = subprocess.run([patchelf, "--print-needed", path], check=True, capture_output=True, text=True).stdout
        bindings = [name for name in needed.split() if name.endswith("__rosidl_generator_py.so")]
        if bindings:
            arguments = [word for name in bindings for word in ("--remove-needed", name)]
            subprocess.run([patchelf, *arguments, path], check=True)
            mended += 1
    return mended


def point_exports_here(share: Path) -> int:
    """CMake exports name the include folders of the machine that built the wheels."""
    python_include = sysconfig.get_paths()["include"]
    root = r"/opt/python/cp3\d+-cp3\d+"
    cures = (
        (re.compile(root + r"/lib/python3\.\d+/site-packages/numpy/_core/include"), numpy.get_include()),
        (re.compile(root + r"/include/python3\.\d+"), python_include),
    )
    mended = 0
    for path in sorted(share.glob("*/cmake/*.cmake")):
        text = before = path.read_text()
        for pattern, cure in cures:
            text = pattern.sub(lambda _match, cure=cure: cure, text)
        if text != before:
            path.write_text(text)
            mended += 1
    return mended


def main() -> None:
    prefix = Path(sys.prefix)
    if prefix == Path(sys.base_prefix):
        sys.exit("mend_prefix.py: run me with the interpreter of the embedded ROS 2, not with the system's")
    link_the_middleware(prefix / "lib")
    libraries = free_from_libpython(prefix / "lib", prefix / "bin" / "patchelf")
    exports = point_exports_here(prefix / "share")
    print(f"mended {libraries} libraries and {exports} CMake exports in {prefix}")


if __name__ == "__main__":
    main()
