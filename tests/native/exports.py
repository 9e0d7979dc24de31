"""The library exports what the header declares, and that is what the golden list says.

usage: exports.py qyun.h libqyun.so golden/symbols.txt
"""

import subprocess
import sys
from pathlib import Path

import header


def main() -> int:
    declared = sorted(function.name for function in header.functions(Path(sys.argv[1])))
    table = subprocess.run(
        ["nm", "--dynamic", "--defined-only", sys.argv[2]], check=True, capture_output=True, text=True
    )
    exported = sorted(line.split()[-1] for line in table.stdout.splitlines())
    golden = Path(sys.argv[3]).read_text().split()
    failed = False
    for what, ours in (("exported", exported), ("in the golden list", golden)):
        for name in sorted(set(declared) ^ set(ours)):
            where = "declared and not" if name in declared else "not declared but"
            print(f"{name}: {where} {what}")
            failed = True
    assert golden == sorted(golden), "the golden list is not sorted"
    assert len(declared) > 40, f"only {len(declared)} functions found in the header"
    return failed


sys.exit(main())
