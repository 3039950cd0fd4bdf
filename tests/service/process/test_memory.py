"""Memory that was freed is returned to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_MOST_KEPT_MB = 40
# Like the parser: large blocks, in several threads, freed while a small one is still in use.
_PROGRAM = """
import ctypes, re, sys, threading
from pathlib import Path
from pgdbm_service.lifespan import return_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
MB = 1024 * 1024

def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def parse(everyone_is_here):
    everyone_is_here.wait()
    for size in (20, 1, 19, 10):
        block = libc.malloc(size * MB)
        ctypes.memset(block, 1, size * MB)
        libc.malloc(1000)
        libc.free(ctypes.c_void_p(block))
    everyone_is_here.wait()

if sys.argv[1] == "returned":
    return_freed_memory()
before = resident_mb()
barrier = threading.Barrier(8)
threads = [threading.Thread(target=parse, args=[barrier]) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(round(resident_mb() - before))
"""


def _grown_mb(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_large_blocks_of_many_threads_are_given_back() -> None:
    assert _grown_mb("kept") > 2 * _MOST_KEPT_MB
    assert _grown_mb("returned") < _MOST_KEPT_MB
