"""The fuzzing client of Autobahn|Testsuite, whose every case is to end as RFC 6455 wants it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from autobahn_adapter import adapting
from conftest import serving

PLAIN = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
#: Every kind of data and every offer; of the sizes 16 bytes, 1 and 16 KiB, and 8 KiB in many fragments.
#: All 18 sizes take a quarter of an hour.
COMPRESSED = [
    f"{row}.{size}"
    for row in [*(f"12.{data}" for data in range(1, 6)), *(f"13.{offer}" for offer in range(1, 8))]
    for size in (1, 4, 7, 11)
]
#: What a server does there is its own affair: a large message and a Close at once; close codes over 4999.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
#: A server_max_window_bits of 9 and nothing else is offered: it is declined, and nothing compressed.
DECLINED = ("13.3.", "13.5.")
OPTIONS = {
    "max_message_bytes": 32 << 20,
    "queue_bytes": 128 << 20,
    # No frame but those that a case is about.
    "ping_interval_ms": 0,
}


@pytest.mark.skipif(os.environ.get("QYUN_PEERS_AUTOBAHN") == "off", reason="QYUN_PEERS_AUTOBAHN is off")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("cases", "count"), [(PLAIN, 301), (COMPRESSED, 48)], ids=["plain", "compressed"])
def test_autobahn(tmp_path: Path, cases: list[str], count: int) -> None:
    options = [word for key, value in OPTIONS.items() for word in ("--set", f"{key}={value}")]
    # One shard: its rounds are the order between a sender and a listener.
    with serving("--shards", "1", *options) as server, adapting(server) as port:
        spec = {
            "outdir": str(tmp_path),
            "servers": [{"agent": "qyun", "url": f"ws://127.0.0.1:{port}"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        base = Path(os.environ["QYUN_PEERS_AUTOBAHN_BASE"])
        command = [os.environ["QYUN_PEERS_PYTHON2"], str(base / "bin/wstest"), "-m", "fuzzingclient", "-s", "spec.json"]
        environment = os.environ | {"PYTHONUSERBASE": str(base)}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=540)
    results = json.loads((tmp_path / "index.json").read_text())["qyun"]
    assert len(results) == count
    wrong = []
    for case, result in results.items():
        wanted = ("INFORMATIONAL", "INFORMATIONAL") if case in INFORMATIONAL else ("OK", "OK")
        if case.startswith(DECLINED):
            wanted = ("UNIMPLEMENTED", "OK")
        if (result["behavior"], result["behaviorClose"]) != wanted:
            report = json.loads((tmp_path / result["reportfile"]).read_text())
            wrong.append((case, *(report[key] for key in ("behavior", "result", "behaviorClose", "resultClose"))))
    assert not wrong, "\n".join(map(str, wrong))
