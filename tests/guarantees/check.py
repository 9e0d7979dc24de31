#!/usr/bin/env python3
"""Checks GUARANTEES.md: every sentence names at least one test, and every test that is named exists
and is one that the test command runs.

    check.py [FILE]

A section (## Title) holds items, each a sentence and its tests:

    - A sentence that ends with a full stop. — `tests/hub.rs::name_of_test`, `other.py::test_name`

A Rust test is a function under #[test] or #[tokio::test] that is not ignored, in a file that some
module declares. A Python test is a function test_… in a file test_….py. A C test is a program of
tests/native/CMakeLists.txt (lifecycle.c::lifecycle), or a function that its main calls; a C++ test is
a TEST(…) of a program that is registered likewise.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ITEM = re.compile(r"- (?P<sentence>.*?) — (?P<tests>`[^`]+`(, `[^`]+`)*)$")


def items(text):
    """The sections: [(title, line, [(line, item)])]. An item's further lines are indented."""
    sections = []
    fence = False
    for number, line in enumerate(text.splitlines(), 1):
        fence ^= line.startswith("```")
        if fence:
            continue
        if line.startswith("## "):
            sections.append((line[3:], number, []))
        elif line.startswith("- "):
            if not sections:
                sections.append(("the beginning", number, []))
            sections[-1][2].append((number, line))
        elif line.startswith("  ") and sections and sections[-1][2]:
            at, item = sections[-1][2][-1]
            sections[-1][2][-1] = (at, f"{item} {line.strip()}")
    return sections


def declared(path):
    """Whether cargo compiles the Rust file: it is a root, or a module of a file that it compiles."""
    if path.name in ("main.rs", "lib.rs") or path.parent.name == "tests" and path.parent.parent.samefile(ROOT):
        return True
    folder, name = (path.parent.parent, path.parent.name) if path.name == "mod.rs" else (path.parent, path.stem)
    parents = [folder / "main.rs", folder / "lib.rs", folder / "mod.rs", folder.with_suffix(".rs")]
    declares = re.compile(rf"^\s*(pub(\([a-z:_ ]+\))? )?mod {name};", re.M)
    return any(
        parent != path and parent.is_file() and declares.search(parent.read_text()) and declared(parent)
        for parent in parents
    )


def rust(path, name):
    text = path.read_text()
    found = re.search(rf"(?P<attributes>(^[ \t]*#\[.*\]\n)*)^[ \t]*(async )?fn {name}\(", text, re.M)
    if not found:
        return "there is no such function"
    attributes = found["attributes"]
    if not re.search(r"#\[(tokio::)?test\b", attributes):
        return "it is no #[test]"
    if "#[ignore" in attributes:
        return "it is ignored"
    if not declared(path):
        return "no module declares its file"
    return None


def python(path, name):
    if not path.name.startswith("test_") or not name.startswith("test_"):
        return "pytest collects functions test_… of files test_….py"
    if not re.search(rf"^\s*(async )?def {name}\(", path.read_text(), re.M):
        return "there is no such function"
    return None


def registered(path):
    """Whether CMake makes a test of the program."""
    lists = path.parent / "CMakeLists.txt"
    if not lists.is_file():
        return False
    text = lists.read_text()
    words = rf"\(([^)]*\s)?{path.stem}(\s[^)]*)?\)"
    return bool(re.search(rf"^\s*(native_test|add_test|foreach){words}", text, re.M))


def c(path, name):
    if not registered(path):
        return "its program is no test in CMakeLists.txt"
    if name == path.stem:
        return None
    main = re.search(r"^int main\(.*?^\}", path.read_text(), re.M | re.S)
    if not main or not re.search(rf"\b{name}\b", main[0]):
        return "main does not call it"
    return None


def cpp(path, name):
    if not registered(path):
        return "its program is no test in CMakeLists.txt"
    if not re.search(rf"^TEST\({name}\)", path.read_text(), re.M):
        return "there is no such TEST"
    return None


LANGUAGES = {".rs": rust, ".py": python, ".c": c, ".cpp": cpp}


def fault(test):
    """What is wrong with a test that is named, or None."""
    path, _, name = test.partition("::")
    if not re.fullmatch(r"\w+", name):
        return "it is not PATH::NAME"
    file = ROOT / path
    if not file.is_file():
        return "there is no such file"
    if file.suffix not in LANGUAGES:
        return f"tests are {', '.join(LANGUAGES)}"
    return LANGUAGES[file.suffix](file, name)


def check(text):
    """What is wrong with the page: [(line, text)]; and how many sentences and tests it has."""
    faults = []
    sentences, tests = 0, set()
    sections = items(text)
    if not sections:
        faults.append((1, "there is no section"))
    for title, line, entries in sections:
        if not entries:
            faults.append((line, f"section '{title}' has no sentence"))
        for number, entry in entries:
            item = ITEM.fullmatch(entry)
            if not item:
                faults.append((number, "an item is '- Sentence. — `path::test`'"))
                continue
            sentences += 1
            if not item["sentence"].endswith("."):
                faults.append((number, "the sentence does not end with a full stop"))
            for test in re.findall(r"`([^`]+)`", item["tests"]):
                tests.add(test)
                if wrong := fault(test):
                    faults.append((number, f"{test}: {wrong}"))
    return faults, sentences, len(tests)


def main():
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "GUARANTEES.md"
    faults, sentences, tests = check(page.read_text())
    for line, text in faults:
        print(f"{page.name}:{line}: {text}")
    print(f"{sentences} sentences, {tests} tests, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
