"""Where things are, and what is run on which core."""

import os
from pathlib import Path

BENCHES = Path(__file__).resolve().parents[1]
ROOT = BENCHES.parent
PEERS = BENCHES / "peers"
OUT = ROOT / "target" / "bench"
QYUN = ROOT / "target" / "release" / "qyun"
LIMIT = OUT / "limit"
VENV = OUT / "venv"
NODE_MODULES = OUT / "node" / "node_modules"
DEBS = OUT / "debs"
DEBIAN = DEBS / "root"
NAIVE = OUT / "naive" / "release" / "qyun-bench-naive"

SERVER_CORE, LOAD_CORE = 0, 1


def pinned(core):
    """The command prefix that binds a process to one core, where there are two."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []
