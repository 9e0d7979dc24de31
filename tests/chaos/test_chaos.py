"""The chaos test, for the test command: QYUN_BIN is the qyun command, CHAOS how many disconnections."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path


class ChaosTest(unittest.TestCase):
    def test_every_log_is_gapless_and_in_order_or_was_told_so(self) -> None:
        qyun = os.environ["QYUN_BIN"]
        driver = Path(__file__).with_name("run.py")
        ran = subprocess.run([sys.executable, str(driver), "--qyun", qyun])
        self.assertEqual(ran.returncode, 0)


if __name__ == "__main__":
    unittest.main()
