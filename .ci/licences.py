#!/usr/bin/env python3
"""Refuses dependencies whose licence is not on the list, that come from elsewhere than the
registry, or that stand twice in the tree without being excused. The lists are those of deny.toml,
which `cargo deny check` reads as well."""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POLICY = tomllib.loads((ROOT / "deny.toml").read_text())
ALLOWED = set(POLICY["licenses"]["allow"])
EXCUSED = {entry["crate"].split("@")[0] for entry in POLICY["bans"]["skip"]}


def accepted(expression):
    """Whether an SPDX expression of OR, AND, parentheses and plain names can be met."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)
    python = []
    for token in tokens:
        if token in ("(", ")"):
            python.append(token)
        elif token in ("OR", "/"):
            python.append("or")
        elif token == "AND":
            python.append("and")
        elif token == "WITH":
            python.append("WITH")
        elif python and python[-1] == "WITH":
            python.pop()  # an exception only widens what is allowed
        else:
            python.append(str(token in ALLOWED))
    return eval(" ".join(python), {"__builtins__": {}})  # noqa: S307 - only True, False, and, or, ( )


def main():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features",
               "--filter-platform=x86_64-unknown-linux-gnu"]
    packages = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)["packages"]
    faults = []
    versions = defaultdict(set)
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions[package["name"]].add(package["version"])
        if not accepted(package.get("license") or "none"):
            faults.append(f"{name}: licence {package.get('license')} is not allowed")
        if package["source"] is None and package["name"] != "qyun":
            faults.append(f"{name}: comes from outside the registry")
    for name, found in versions.items():
        if len(found) > 1 and name not in EXCUSED:
            faults.append(f"{name}: stands in the tree in versions {', '.join(sorted(found))}")
    for fault in faults:
        print(fault)
    print(f"{len(packages)} packages, {len(faults)} faults")
    sys.exit(bool(faults))


main()
