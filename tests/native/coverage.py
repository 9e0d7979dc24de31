"""A test covers the header: every function is called, or every pointer of every function is passed NULL.

usage: coverage.py calls|nulls qyun.h test.c...
"""

import re
import sys
from pathlib import Path

import header


def main() -> int:
    what, path = sys.argv[1], Path(sys.argv[2])
    test = "".join(Path(name).read_text() for name in sys.argv[3:])
    functions = header.functions(path)
    assert len(functions) > 40, f"only {len(functions)} functions found in the header"
    missing = []
    for function in functions:
        if what == "calls":
            if not re.search(rf"\b{function.name}\(", test):
                missing.append(function.name)
            continue
        rows = rf"\b(?:REFUSED|ALLOWED|HARMLESS)\({function.name}, (\w+),"
        covered = set(re.findall(rows, test))
        missing += [f"{function.name}: {name}" for name in function.pointers if name not in covered]
        known = {name for _, name in function.parameters}
        missing += [f"{function.name}: no parameter {name}" for name in covered - known]
    print("\n".join(missing))
    return bool(missing)


sys.exit(main())
