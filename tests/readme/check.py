"""Checks the READMEs: that both say the same, and that every program and command in them works.

    check.py --qyun target/release/qyun --prefix stage

A fence that names a file (```c hello.c) writes it to a folder; the commands of ```console blocks
run there, one after the other, against a server of this script's own. A line that begins with "$ "
is a command, the lines below it are what it prints to stdout, and "…" stands for anything. A
```console background block has one command, which runs until the end of the next ```console block;
that one begins once it has said "listening" on stderr. ```js runs in Node, if it has WebSocket,
until it prints. ```sh is only read by the shell: it builds or installs.

"localhost:8000" becomes the server's address, and the library is found in PREFIX.
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
BENCH = ROOT / "benches" / "suite" / "cases.py"
TIME_LIMIT = 120


class Failed(Exception):
    """What is wrong, in words."""


# ---- reading --------------------------------------------------------------------------------------

def fences(text):
    """The fenced blocks: [(info string, body)]."""
    return re.findall(r"^```(\S[^\n]*)\n(.*?)^```$", text, re.M | re.S)


def prose(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def shape(text):
    """What two translations have in common: headings by level, tables by rows and columns, lists."""
    kinds = []
    for line in prose(text).splitlines():
        if line.startswith("#"):
            kinds.append(re.match("#+", line)[0])
        elif line.startswith("|"):
            kinds.append(f"row of {line.count('|')}")
        elif re.match(r"(-|\d+\.) ", line):
            kinds.append("item")
    return kinds


def check_same(one, other):
    for what, read in [("block", fences), ("heading, table row or item", shape)]:
        left, right = read(one.read_text("utf-8")), read(other.read_text("utf-8"))
        for number, (a, b) in enumerate(zip(left, right), 1):
            if a != b:
                raise Failed(f"{what} {number} of {one.name} and {other.name} differ:\n{a}\n{b}")
        if len(left) != len(right):
            raise Failed(f"{one.name} has {len(left)} of: {what}; {other.name} has {len(right)}")


def check_links(readme):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose(readme.read_text("utf-8"))):
        if not (readme.parent / target).exists():
            raise Failed(f"{readme.name} links to {target}, which does not exist")


def check_options(readme, qyun):
    """The option tables list the options, and each with its default."""
    rows = re.findall(r"^\| `(\w+)` \| `?([^`|]*?)`? \|", readme.read_text("utf-8"), re.M)
    for kind in ([], ["--client"]):
        listed = subprocess.run([qyun, "options", "--json", *kind], check=True, capture_output=True)
        options = [(one["key"], one["default"]) for one in json.loads(listed.stdout)]
        start = rows.index(options[0]) if options[0] in rows else 0
        table = rows[start:start + len(options)]
        if table != options:
            wrong = [pair for pair in zip(table, options) if pair[0] != pair[1]]
            raise Failed(f"{readme.name}: options {kind}: {wrong[:3] or 'some are missing'}")


def check_bench_rows(readme):
    """The speed table has the rows that the benchmark prints."""
    cases = re.search(r"^CASES = \[.*?^\]", BENCH.read_text("utf-8"), re.M | re.S)[0]
    titles = re.findall(r'^    \("[\w-]+", "([^"]+)"', cases, re.M)
    text = readme.read_text("utf-8")
    for title in titles:
        if f"| {title} |" not in text:
            raise Failed(f"{readme.name} has no row '{title}', which {BENCH.name} measures")


# ---- running --------------------------------------------------------------------------------------

@contextmanager
def server(qyun):
    """A server on a free port; gives the port."""
    command = [qyun, "serve", "--listen", "127.0.0.1:0", "--json", "--drain", "1s", "--log", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["address"].rpartition(":")[2]
        finally:
            process.terminate()


def kill_group(process):
    """Ends a command and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Session:
    """A folder and an environment in which the blocks of a README run in turn."""

    def __init__(self, folder, qyun, prefix, port):
        self.folder, self.port = folder, port
        tools = folder / ".bin"
        tools.mkdir()
        (tools / "qyun").symlink_to(qyun)
        path = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join(path),
            "LD_LIBRARY_PATH": str(prefix / "lib"),
            "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig"),
            "CMAKE_PREFIX_PATH": str(prefix),
            "PYTHONPATH": str(ROOT / "bindings" / "python" / "src"),
            "QYUN_LIBRARY": str(prefix / "lib" / "libqyun.so"),
            "QYUN_HOST": f"localhost:{port}",
        }
        self.background = None

    def close(self):
        if self.background is not None:
            kill_group(self.background[0])

    def address(self, text):
        return text.replace("localhost:8000", f"localhost:{self.port}")

    def start(self, command):
        return subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def end(self, process, command, expected):
        """Waits for a command and compares what it printed."""
        try:
            said, complained = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise Failed(f"'{command}' did not end in {TIME_LIMIT} s") from None
        if process.returncode != 0:
            raise Failed(f"'{command}' ended with {process.returncode}:\n{said}{complained}")
        pattern = expected.strip("\n").replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
        if not fnmatch.fnmatchcase(said.strip("\n"), pattern.replace("…", "*")):
            raise Failed(f"'{command}' printed:\n{said}and not:\n{expected}")

    def console(self, body):
        for command, expected in re.findall(r"^\$ ([^\n]+)\n((?:(?!\$ )[^\n]*\n)*)", body, re.M):
            print(f"  $ {command}", flush=True)
            self.end(self.start(command), command, expected)
        if self.background is not None:
            process, command, expected = self.background
            self.background = None
            self.end(process, command, expected)

    def run_background(self, body):
        command, expected = re.fullmatch(r"\$ ([^\n]+)\n(.*)", body, re.S).groups()
        print(f"  $ {command} &", flush=True)
        process = self.start(command)
        said = ""
        while "listening" not in said:
            line = process.stderr.readline()
            if not line:
                raise Failed(f"'{command}' ended before it listened: {said}")
            said += line
        self.background = process, command, expected

    def javascript(self, body):
        node = shutil.which("node")
        flags = ["--no-warnings", "--experimental-websocket"]
        probe = "process.exit(typeof WebSocket === 'function' ? 0 : 1)"
        if node is None or subprocess.run([node, *flags, "-e", probe], check=False,
                                          stderr=subprocess.DEVNULL).returncode != 0:
            print("  (no Node with WebSocket here: the JavaScript is not run)", flush=True)
            return
        print("  node", flush=True)
        with subprocess.Popen(["timeout", str(TIME_LIMIT), node, *flags, "-e", body],
                              stdout=subprocess.PIPE, text=True) as process:
            said = process.stdout.readline()
            process.terminate()
        if said != "hello\n":
            raise Failed(f"the JavaScript printed '{said}' and not 'hello'")

    def block(self, info, body):
        language, _, name = info.partition(" ")
        body = self.address(body)
        if language == "console" and name == "background":
            self.run_background(body)
        elif language == "console":
            self.console(body)
        elif language == "js":
            self.javascript(body)
        elif language == "sh":
            subprocess.run(["bash", "-n", "-c", body], check=True)
        elif name:
            (self.folder / name).write_text(body, "utf-8")
        else:
            raise Failed(f"a block of '{language}' that is neither run nor named:\n{body}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qyun", required=True, type=Path, help="the command")
    parser.add_argument("--prefix", required=True, type=Path, help="where libqyun is installed")
    arguments = parser.parse_args()
    qyun, prefix = arguments.qyun.resolve(strict=True), arguments.prefix.resolve(strict=True)

    check_same(*READMES)
    for readme in READMES:
        check_links(readme)
        check_options(readme, qyun)
        check_bench_rows(readme)
    blocks = fences(READMES[0].read_text("utf-8"))
    with server(qyun) as port, tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder), qyun, prefix, port)
        with closing(session):
            for info, body in blocks:
                session.block(info, body)
    print(f"{len(blocks)} passed: the blocks of {READMES[0].name}, which {READMES[1].name} shares")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"check.py: {failure}")
