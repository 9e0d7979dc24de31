"""Builds and fetches what is measured. All of it goes below target/bench, but for an empty folder that nchan
insists on.

Debian's packages are unpacked and not installed, so that no service is started beside the
measurement.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from .paths import BENCHES, DEBIAN, DEBS, LIMIT, NODE_MODULES, OUT, PEERS, ROOT, VENV

# The servers, and the libraries of theirs that a small system does not have.
PACKAGES = ["nginx", "libnginx-mod-nchan", "nats-server", "mosquitto", "libmosquitto1", "libcjson1", "libdlt2",
            "libwrap0"]


NGINX_STATE = Path("/var/lib/nginx")


def sudo():
    return [] if os.geteuid() == 0 else ["sudo"]


def run(*command, **more):
    subprocess.run([str(word) for word in command], check=True, **more)


def qyun():
    """The command and the bare loop."""
    OUT.mkdir(parents=True, exist_ok=True)
    run("cargo", "build", "--release", "--locked", "--bin", "qyun", cwd=ROOT)
    run("c++", "-O2", "-std=c++17", "-o", LIMIT, BENCHES / "limit.cpp", "-lz")


def naive():
    run("cargo", "build", "--release", "--locked", "--manifest-path", PEERS / "naive" / "Cargo.toml",
        env={**os.environ, "CARGO_TARGET_DIR": str(OUT / "naive")})


def python():
    """A Python environment with what peers/requirements.txt names."""
    wanted, there = PEERS / "requirements.txt", VENV / "requirements.txt"
    if there.exists() and filecmp.cmp(wanted, there, shallow=False):
        return
    venv.create(VENV, clear=True, with_pip=True)
    run(VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted)
    shutil.copy(wanted, there)


def node():
    """Bun and ws, of the versions that peers/package.json names."""
    wanted, there = PEERS / "package.json", NODE_MODULES.parent / "installed.json"
    if there.exists() and filecmp.cmp(wanted, there, shallow=False):
        return
    folder = NODE_MODULES.parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(wanted, folder / "package.json")
    run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent", cwd=folder)
    # Where npm runs no scripts of packages: what Bun's would have done.
    if subprocess.run([NODE_MODULES / ".bin" / "bun", "--version"], capture_output=True, check=False).returncode != 0:
        run("node", "install.js", cwd=NODE_MODULES / "bun")
    shutil.copy(wanted, there)


def debian():
    """Debian's servers, unpacked."""
    there = DEBS / "unpacked"
    if there.exists() and there.read_text() == "\n".join(PACKAGES):
        return
    shutil.rmtree(DEBS, ignore_errors=True)
    DEBS.mkdir(parents=True)
    download = ["apt-get", "download", "-qq", *PACKAGES]
    if subprocess.run(download, cwd=DEBS, capture_output=True, check=False).returncode != 0:
        run(*sudo(), "apt-get", "update", "-qq")
        run(*download, cwd=DEBS)
    for package in sorted(DEBS.glob("*.deb")):
        run("dpkg", "-x", package, DEBIAN)
    # nchan wants nginx's own folder, whatever its configuration says.
    if not NGINX_STATE.exists():
        run(*sudo(), "install", "-d", "-o", os.geteuid(), NGINX_STATE)
    there.write_text("\n".join(PACKAGES))


STEPS = {"naive": naive, "fastapi": python, "bun": node, "ws": node, "nchan": debian, "nats": debian,
         "mosquitto": debian}


def peers(names):
    """Gets the peers of these names; gives the names of those that cannot be had, and says why."""
    failed, done = [], {}
    for name in names:
        step = STEPS.get(name)
        if step is None:
            continue
        if step not in done:
            try:
                step()
                done[step] = True
            except (OSError, subprocess.CalledProcessError) as why:
                print(f"'{name}' cannot be had: {why}", file=sys.stderr)
                done[step] = False
        if not done[step]:
            failed.append(name)
    return failed
