"""Builds libqyun and puts it into the package: one wheel per platform, for any Python.

QYUN_LIBRARY names a library that is built already, to bundle that instead of running cargo.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent
CRATE = HERE.parent.parent
LIBRARY = {"darwin": "libqyun.dylib", "win32": "qyun.dll"}.get(sys.platform, "libqyun.so")


def crate_manifest():
    """The crate's Cargo.toml, or None when this is not its source tree."""
    manifest = CRATE / "Cargo.toml"
    if manifest.is_file() and re.search(
        r'^name = "qyun"$', manifest.read_text(encoding="utf-8"), re.M
    ):
        return manifest
    return None


def version():
    """The crate's version; a source distribution carries it in PKG-INFO."""
    manifest, info = crate_manifest(), HERE / "PKG-INFO"
    if manifest is not None:
        source, pattern = manifest, r'^version = "(.+)"$'
    elif info.is_file():
        source, pattern = info, r"^Version: (.+)$"
    else:
        raise SystemExit(f"qyun: neither {CRATE / 'Cargo.toml'} nor {info} says the version")
    return re.search(pattern, source.read_text(encoding="utf-8"), re.M).group(1)


def built_library():
    """The library to bundle, built now unless QYUN_LIBRARY names one."""
    given = os.environ.get("QYUN_LIBRARY")
    if given:
        path = Path(given).resolve()
        if not path.is_file():
            raise SystemExit(f"qyun: QYUN_LIBRARY names {given}, which is no file")
        return path
    manifest = crate_manifest()
    if manifest is None:
        raise SystemExit(
            f"qyun: the Rust sources are not at {CRATE}. Build from the project's source tree "
            f"(pip install ./bindings/python), or set QYUN_LIBRARY to a built {LIBRARY}"
        )
    if shutil.which("cargo") is None:
        raise SystemExit(
            "qyun: cargo is not on PATH. Install a Rust toolchain, or set QYUN_LIBRARY to a "
            f"built {LIBRARY}"
        )
    cargo = ["cargo", "build", "--release", "--lib", "--no-default-features"]
    subprocess.run([*cargo, "--manifest-path", manifest], check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version=1", "--manifest-path", manifest],
        check=True,
        stdout=subprocess.PIPE,
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "release" / LIBRARY


class BuildWithLibrary(build_py):
    """Adds the library to what build_py copies; an editable install gets it beside the sources."""

    def run(self):
        super().run()
        root = HERE / "src" if self.editable_mode else Path(self.build_lib)
        target = root / "qyun" / LIBRARY
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not onto the old file: a running program may have it mapped.
        fresh = target.with_name(target.name + ".new")
        shutil.copyfile(built_library(), fresh)
        fresh.replace(target)


class PlatformWheel(bdist_wheel):
    """Tags the wheel py3-none-PLATFORM: it holds machine code, and none of it is Python's."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


class BinaryDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(
    version=version(),
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
    distclass=BinaryDistribution,
)
