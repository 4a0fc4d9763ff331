"""Peak memory and time of moments against the cube's size, each in a process of its own.

The cubes are noise on one map of 512 x 512, a chunk of which is repeated; the largest are holes in
a sparse file beyond their first 4 GB. Run as a script, it prints the table and draws the plot of
``docs/performance.rst``: ``python -m benchmarks.bench_memory FOLDER [PLOT]``.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.cubes import header

GIGABYTES = (0.1, 1, 4, 16)
THREADS = (1, 2)
LIMIT = "400 MB"
_SIDE = 512
_DENSE = 4e9

_RUN = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from stellarssl import moment_maps, read_cube
path, work, n_threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
cube = read_cube(path)
start = time.perf_counter()
if work == "moments":
    moment_maps(cube, memory_limit="{limit}", n_threads=n_threads)
elif work == "read":
    np.sum(cube.data)
seconds = time.perf_counter() - start
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps([seconds, peak * 1024 / 1e6]))
"""


def write_cube(folder, gigabytes):
    """Write noise of 0.2 K with a line of 3 K in the middle of the map."""
    path = Path(folder) / f"cube-{gigabytes:g}.fits"
    n_v = max(int(gigabytes * 1e9 / (4 * _SIDE**2)), 16)
    cards = header((n_v, _SIDE, _SIDE)).tostring(padding=True).encode()
    if path.exists():
        return path
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.2, (16, _SIDE, _SIDE)).astype(">f4")
    with path.open("wb") as file:
        file.write(cards)
        for v in range(0, n_v, 16):
            if 4 * v * _SIDE**2 > _DENSE:
                break
            part = np.roll(noise, v, axis=1)[: n_v - v]
            if v <= n_v // 4 < v + 16:
                part = part.copy()
                part[:8, 200:300, 200:300] += 3
            file.write(part.tobytes())
        n_bytes = len(cards) + 4 * n_v * _SIDE**2
        file.truncate(-(-n_bytes // 2880) * 2880)
    return path


def measure(path, work, n_threads=1):
    """Return seconds and the peak of resident memory [MB] of a fresh process."""
    said = subprocess.run(
        [sys.executable, "-c", _RUN.format(limit=LIMIT), str(path), work, str(n_threads)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(said.stdout.splitlines()[-1])


class Memory:
    """Peaks of resident memory [MB], and seconds."""

    params = (GIGABYTES[:2], THREADS)
    param_names = ("gigabytes", "n_threads")
    timeout = 1800
    unit = "MB"

    def setup(self, gigabytes, _):
        self.path = write_cube(tempfile.gettempdir(), gigabytes)

    def track_peak(self, _, n_threads):
        return measure(self.path, "moments", n_threads)[1]

    def track_times_reading(self, _, n_threads):
        return measure(self.path, "moments", n_threads)[0] / measure(self.path, "read")[0]


def main(folder, plot=None):
    rows = []
    for gigabytes in GIGABYTES:
        path = write_cube(folder, gigabytes)
        measure(path, "read")  # fills the system's cache as far as it goes
        read, (_, base) = measure(path, "read"), measure(path, "nothing")
        ours = [measure(path, "moments", n) for n in THREADS]
        rows.append((gigabytes, read[0], *(x for one in ours for x in one), base))
        sys.stdout.write(("{:6g}" + " {:8.2f}" * 6 + "\n").format(*rows[-1]))
        sys.stdout.flush()
        path.unlink()
    if plot is not None:
        draw(rows, plot)


def draw(rows, plot):
    """Draw time and peak memory against the cube's size."""
    size, read, t1, m1, t2, m2, base = np.transpose(rows)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for times, label in ((t1, "moments, 1 thread"), (t2, "moments, 2 threads")):
        left.loglog(size, times, "o-", label=label)
    left.loglog(size, read, "k--", label="numpy.sum of the file")
    for peaks, label in ((m1, "1 thread"), (m2, "2 threads")):
        right.semilogx(size, peaks, "o-", label=label)
    right.semilogx(size, base, "k--", label="imports and an open cube")
    limit = base.mean() + float(LIMIT.removesuffix(" MB"))
    right.axhline(limit, color="gray", ls=":", label=f"the same and memory_limit = {LIMIT}")
    right.set_ylim(0, 1.6 * limit)
    for axis, name in ((left, "time / s"), (right, "peak resident memory / MB")):
        axis.set(xlabel="cube / GB", ylabel=name, xticks=size, xticklabels=[f"{x:g}" for x in size])
        axis.minorticks_off()
        axis.legend(frameon=False, fontsize="small")
    figure.savefig(plot, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
