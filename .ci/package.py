#!/usr/bin/env python3
"""Checks the published packages: their files, the links in their READMEs, and the size of that of the crate.

    python3 .ci/package.py           # and that the packed crate passes its tests outside of the repository
    python3 .ci/package.py --list    # without compiling anything
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_BYTES = 512 * 1024
# Every file of a package begins with one of these.
BELONGS = ("src/", "examples/", "Cargo.", ".cargo_vcs_info.json", "README.md", "CHANGELOG.md", "LICENSE-")


def cargo(*arguments, cwd=ROOT, **options):
    return subprocess.run(["cargo", *arguments], cwd=cwd, check=True, **options)


def check_links(package, readme, files):
    """Checks that every link of the README is absolute or leads to a file of the package."""
    for target in re.findall(r"\]\(([^)\s]+)\)", readme.read_text()):
        if not re.match(r"https?://|#", target) and target.partition("#")[0] not in files:
            raise SystemExit(f"{package}: README.md links to {target}, which is not in the package")


def check_list(package, folder):
    listed = cargo("package", "--locked", "--allow-dirty", "--list", "-p", package, stdout=subprocess.PIPE, text=True)
    files = set(listed.stdout.splitlines())
    strangers = sorted(file for file in files if not file.startswith(BELONGS))
    if strangers:
        raise SystemExit(f"{package}: these do not belong into the package: {', '.join(strangers)}")
    for file in ("README.md", "LICENSE-MIT", "LICENSE-APACHE"):
        if file not in files:
            raise SystemExit(f"{package}: {file} is missing")
    check_links(package, folder / "README.md", files)
    print(f"{package}: {len(files)} files")


def pack_crate():
    """Packs the crate, checks that it is small, and returns the path of the package."""
    cargo("package", "--locked", "--allow-dirty", "--no-verify", "-p", "mqtt-sansio")
    packed = max((target() / "package").glob("mqtt-sansio-[0-9]*.crate"), key=lambda path: path.stat().st_mtime)
    size = packed.stat().st_size
    print(f"{packed.name}: {size / 1024:.0f} KiB")
    if size > MOST_BYTES:
        raise SystemExit(f"more than {MOST_BYTES // 1024} KiB")
    return packed


def target():
    meta = cargo("metadata", "--locked", "--no-deps", "--format-version", "1", stdout=subprocess.PIPE, text=True).stdout
    return pathlib.Path(re.search(r'"target_directory":"([^"]+)"', meta).group(1))


def test_crate(packed):
    """Runs the tests of the packed crate outside of the repository."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="package-"))
    try:
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target() / "package" / "tests")}
        cargo("test", "--locked", "--all-features", cwd=folder / packed.stem, env=environment)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    check_list("mqtt-sansio", ROOT)
    check_list("mqtt-sansio-embedded", ROOT / "crates" / "embedded")
    check_list("mqtt-sansio-std", ROOT / "crates" / "std")
    check_list("mqtt-sansio-testkit", ROOT / "crates" / "testkit")
    check_list("mqtt-sansio-tokio", ROOT / "crates" / "tokio")
    packed = pack_crate()
    if "--list" not in sys.argv[1:]:
        test_crate(packed)
