"""What ``import stellarssl`` costs beyond a bare interpreter."""

import subprocess
import sys
import time

import numpy as np


def _seconds(code, repeats=15):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return np.median(times)


def track_import():
    return _seconds("import stellarssl") - _seconds("pass")


track_import.unit = "s beyond bare python"
