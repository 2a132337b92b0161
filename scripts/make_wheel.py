#!/usr/bin/env python3
"""Writes the Python wheel from the files that scripts/package.sh staged: the program, the libraries that Python
environments lack, and a module that starts the program with the libtorch of the package torch.

A wheel is a ZIP archive whose RECORD lists the files. Its times come from SOURCE_DATE_EPOCH.
"""

import argparse
import base64
import hashlib
import os
import pathlib
import re
import time
import zipfile

REPO = pathlib.Path(__file__).resolve().parent.parent
EXECUTABLE, PLAIN = 0o755, 0o644


def torch_requirement():
    """The version of libtorch that the program is built with: "torch==2.11.0"."""
    wheels = (REPO / "scripts/packages/libtorch-cpu.txt").read_text()
    return re.search(r"^torch==[0-9.]+", wheels, re.MULTILINE).group()


def metadata(version):
    return f"""Metadata-Version: 2.1
Name: longlora
Version: {version}
Summary: Takes language models to longer context windows (LongLoRA) and measures the result; a C++ program
License: Apache-2.0
Requires-Python: >=3.10
Requires-Dist: {torch_requirement()}
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: C++
Description-Content-Type: text/markdown

{(REPO / "README.md").read_text()}"""


def platform_tag():
    """The systems that the program runs on: those whose C library is as new as this one's."""
    return "manylinux_" + os.confstr("CS_GNU_LIBC_VERSION").split()[1].replace(".", "_") + "_x86_64"


def wheel_files(stage, version, tag):
    """{path in the wheel: (content, mode)}, RECORD excepted. The program finds its libraries in ../lib/longlora."""
    launcher = (REPO / "scripts/wheel/launcher.py").read_text()
    launcher = launcher.replace("@TORCH_REQUIREMENT@", torch_requirement())
    files = {
        "longlora/__init__.py": (launcher.encode(), PLAIN),
        "longlora/__main__.py": (b"from longlora import main\n\nmain()\n", PLAIN),
        "longlora/bin/longlora": ((stage / "bin/longlora").read_bytes(), EXECUTABLE),
    }
    for library in (stage / "lib/longlora").glob("*.so*"):
        files[f"longlora/lib/longlora/{library.name}"] = (library.read_bytes(), EXECUTABLE)
    information = f"longlora-{version}.dist-info"
    licences = stage / "share/doc/longlora/licenses"
    for licence in licences.rglob("*"):
        if licence.is_file() and not re.match(r"torch-|nvidia", licence.relative_to(licences).parts[0]):
            files[f"{information}/licenses/{licence.relative_to(licences)}"] = (licence.read_bytes(), PLAIN)
    files[f"{information}/licenses/LICENSE"] = ((REPO / "LICENSE").read_bytes(), PLAIN)
    files[f"{information}/METADATA"] = (metadata(version).encode(), PLAIN)
    files[f"{information}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: longlora\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), PLAIN)
    files[f"{information}/entry_points.txt"] = (b"[console_scripts]\nlonglora = longlora:main\n", PLAIN)
    return files


def record_line(path, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


def write_wheel(path, files, record, moment):
    """Writes the files by name, RECORD last, as the format asks."""
    lines = "".join(record_line(name, content) for name, (content, _) in sorted(files.items()))
    ordered = [*sorted(files.items()), (record, (f"{lines}{record},,\n".encode(), PLAIN))]
    unfinished = path.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (content, mode) in ordered:
            entry = zipfile.ZipInfo(name, moment)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    unfinished.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", type=pathlib.Path, required=True, help="where scripts/package.sh installed")
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the wheel")
    arguments = parser.parse_args()
    tag = f"py3-none-{platform_tag()}"
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    files = wheel_files(arguments.stage, arguments.version, tag)
    write_wheel(arguments.output / f"longlora-{arguments.version}-{tag}.whl", files,
                f"longlora-{arguments.version}.dist-info/RECORD", moment)


if __name__ == "__main__":
    main()
