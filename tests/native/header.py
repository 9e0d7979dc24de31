"""What the header declares: functions with their parameters, and examples."""

import re
from pathlib import Path
from typing import NamedTuple

CALLBACKS = r"qy_\w+_(?:callback|visitor|predicate)"


class Function(NamedTuple):
    name: str
    parameters: list[tuple[str, str]]  # type, name

    @property
    def pointers(self) -> list[str]:
        """The parameters for which NULL can be passed."""
        return [
            name for kind, name in self.parameters if "*" in kind or re.fullmatch(CALLBACKS, kind)
        ]


def functions(header: Path) -> list[Function]:
    """The functions, in the order of the header."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    text = re.sub(r"^\s*(?:#|typedef\b[^{]*?;).*?$", "", text, flags=re.M)
    found = []
    for name, inside in re.findall(r"^\w[\w \t*]*?\b(qy_\w+)\(([^()]*)\);", text, flags=re.M):
        parameters = []
        for parameter in inside.split(","):
            parameter = " ".join(parameter.split())
            if parameter != "void":
                kind, word = re.fullmatch(r"(.*?)(\w+)", parameter).groups()
                parameters.append((kind.strip(), word))
        found.append(Function(name, parameters))
    return found


def examples(header: Path) -> list[tuple[str, str]]:
    """The fenced C examples, each with the title of its section."""
    title, lines, found = "", None, []
    for line in header.read_text().splitlines():
        line = re.sub(r"^ \* ?", "", line)
        if match := re.fullmatch(r"\d+\. (.*)", line):
            title = match[1]
        elif line == "```c":
            lines = []
        elif line == "```" and lines is not None:
            found.append((title, "\n".join(lines) + "\n"))
            lines = None
        elif lines is not None:
            lines.append(line)
    return found
