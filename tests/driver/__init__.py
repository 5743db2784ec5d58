"""Where does the double of a driver come from?"""

import shutil
import subprocess
from pathlib import Path

__all__ = ["COMPILER", "NAME", "build"]

COMPILER = shutil.which("cc")
NAME = "libcuda.so.1"
SOURCE = Path(__file__).with_name("driver.c")


def build(folder):
    """Compile the double into a folder, to be found there by those who look for a driver."""
    command = [
        COMPILER,
        "-std=gnu11",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(folder / NAME),
        str(SOURCE),
    ]
    subprocess.run(command, check=True)
