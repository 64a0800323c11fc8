"""Importing a large export, by the command a shop would use, compared with reading the file with csv alone."""

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Result
from infrastructure.pinduoduo.sample import SAMPLE_EXPORT

ROWS = 100_000


def large_export(url: str) -> Result:
    """Rows a second from file to committed events, and the importing process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "orders.csv"
        with SAMPLE_EXPORT.open(encoding="gb18030", newline="") as sample:
            header, *rows = csv.reader(sample)
        with file.open("w", encoding="gb18030", newline="") as out:
            table = csv.writer(out)
            table.writerow(header)
            for n in range(ROWS):
                row = list(rows[n % len(rows)])
                row[1] = f"260311-{n:015d}\t"
                table.writerow(row)
        began = time.perf_counter()
        with file.open(encoding="gb18030", newline="") as source:
            assert sum(1 for _ in csv.reader(source)) == ROWS + 1
        peer = ROWS / (time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from api.cli import main; main()", "import", str(file), "--shop", "bench"],
            env=os.environ | {"SHIPLOCK_DATABASE_URL": url},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    note = f"{seconds:.0f} s, largest child process {peak} MB"
    return Result(f"import of {ROWS:,} rows", "rows", ROWS / seconds, "reading them with csv", peer, note)
