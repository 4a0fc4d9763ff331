"""What ``import stellarssl`` costs beyond a bare interpreter."""

import subprocess
import sys
import time

import numpy as np


def _seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def track_import():
    times = np.array([[_seconds("import stellarssl"), _seconds("pass")] for _ in range(20)])
    imported, bare = times.min(axis=0)
    return imported - bare


track_import.unit = "s beyond bare python"
