"""Every section of the header opens with an example that compiles and links as a program of its own.

usage: examples.py qyun.h LIBDIR CC
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import header


def main() -> int:
    path, libdir, compiler = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    sections = re.findall(r"^ \* \d+\. (.*)$", path.read_text(), flags=re.M)
    examples = header.examples(path)
    assert sections and sections == [title for title, _ in examples], (sections, examples)
    flags = "-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror".split()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for title, code in examples:
            source = Path(folder, "example.c")
            source.write_text(code)
            command = [compiler, *flags, f"-I{path.parent}", str(source), f"-L{libdir}", "-lqyun"]
            run = subprocess.run(
                [*command, "-o", str(source.with_suffix(""))], capture_output=True, text=True
            )
            if run.returncode != 0:
                print(f"the example of '{title}':\n{code}\n{run.stderr}")
                failed = True
    return failed


sys.exit(main())
