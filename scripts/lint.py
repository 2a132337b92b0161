#!/usr/bin/env python3
"""Runs clang-tidy (with .clang-tidy) over the project's sources.

    scripts/lint.py build/release [FILE...]

Takes the sources and their flags from the build folder's compile_commands.json.
A source that was clean is not looked at again until it, a project header that it
includes, its flags or the configuration change: build/lint-cache holds an empty
file for each clean state. Exit code 1 when anything is found.

Nearly all of the time goes into walking libtorch's declarations, once for each
run of clang-tidy. So sources of one folder are looked at together, as one
translation unit; only where something is found, or where their local names
clash, each is looked at by itself.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
CACHE = REPO / "build" / "lint-cache"
FOLDERS = ("longlora", "benchmarks")
BATCH_SIZE = 8
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<((?:ATen|c10|torch)/[^>]+)>)', re.MULTILINE)


def clang_flags(command):
    """What clang must know of a g++ command: not its warnings, its precompiled
    header or OpenMP, whose header only g++ has."""
    flags, words = [], iter(shlex.split(command))
    for word in words:
        if word == "-isystem":
            flags += [word, next(words)]
        elif word.startswith(("-D", "-I", "-std=", "-m")):
            flags.append(word)
    return flags


def project_files(source):
    """The source and every project header it includes, and whether libtorch's are among them."""
    seen, todo, uses_torch = set(), [source], False
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for quoted, torch in INCLUDE.findall(path.read_text(encoding="utf-8")):
            uses_torch |= bool(torch)
            for candidate in (REPO / quoted, path.parent / quoted) if quoted else ():
                if candidate.is_file():
                    todo.append(candidate.resolve())
                    break
    return sorted(seen), uses_torch


class Unit:
    """One source with its flags and the key of its present state."""

    def __init__(self, source, flags, common_key, build):
        self.source, self.flags = source, flags
        files, self.uses_torch = project_files(source)
        digest = hashlib.sha256(common_key)
        digest.update(" ".join(flags).replace(str(build), "").replace(str(REPO), "").encode())
        for path in files:
            digest.update(str(path.relative_to(REPO)).encode() + b"\0" + path.read_bytes() + b"\0")
        self.key = digest.hexdigest()

    def name(self):
        return str(self.source.relative_to(REPO))

    def is_known_clean(self):
        return (CACHE / self.key).exists()


def read_units(build, only):
    tidy_version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    common_key = tidy_version + (REPO / ".clang-tidy").read_bytes() + pathlib.Path(__file__).read_bytes()
    units = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if not source.is_relative_to(REPO) or source.relative_to(REPO).parts[0] not in FOLDERS:
            continue
        if source in units or (only and source not in only):
            continue
        units[source] = Unit(source, clang_flags(entry["command"]), common_key, build)
    return list(units.values())


def make_batches(units):
    """Units that can share a translation unit: one folder, the same flags. Those with libtorch first."""
    groups = {}
    for unit in sorted(units, key=lambda unit: unit.source):
        groups.setdefault((not unit.uses_torch, str(unit.source.parent), tuple(unit.flags)), []).append(unit)
    return [group[at : at + BATCH_SIZE] for _, group in sorted(groups.items()) for at in range(0, len(group), BATCH_SIZE)]


def make_torch_header(units):
    """A precompiled ATen header, which saves parsing it each time; None when clang cannot make it."""
    first = next((unit for unit in units if unit.uses_torch), None)
    if first is None:
        return None
    header, compiled = CACHE / "aten.h", CACHE / "aten.h.pch"
    header.write_text("#include <ATen/ATen.h>\n")
    flags = [flag for flag in first.flags if not flag.startswith(("-D", "-m"))]
    command = ["clang++", "-x", "c++-header", *flags, str(header), "-o", str(compiled)]
    done = subprocess.run(command, capture_output=True, text=True)
    return compiled if done.returncode == 0 else None


class Linter:
    def __init__(self, torch_header):
        self.torch_header = torch_header

    def flags_of(self, unit):
        if unit.uses_torch and self.torch_header and not any(flag.startswith("-m") for flag in unit.flags):
            return ["-include-pch", str(self.torch_header), *unit.flags, "-w"]
        return [*unit.flags, "-w"]

    def tidy(self, source, flags):
        command = ["clang-tidy", "--quiet", f"--config-file={REPO / '.clang-tidy'}", str(source), "--", *flags]
        return subprocess.run(command, cwd=REPO, capture_output=True, text=True)

    def lint_together(self, batch):
        """[(unit, findings)], findings empty where there are none."""
        if len(batch) == 1:
            return [self.lint_alone(batch[0])]
        source = CACHE / f"{batch[0].key}.cpp"
        source.write_text("".join(f'#include "{unit.source}"\n' for unit in batch))
        flags = self.flags_of(batch[0])
        compiles = subprocess.run(["clang++", "-fsyntax-only", *flags, str(source)], capture_output=True)
        if compiles.returncode != 0:
            middle = len(batch) // 2
            return self.lint_together(batch[:middle]) + self.lint_together(batch[middle:])
        if self.tidy(source, flags).returncode != 0:
            return [self.lint_alone(unit) for unit in batch]
        return [(unit, "") for unit in batch]

    def lint_alone(self, unit):
        done = self.tidy(unit.source, self.flags_of(unit))
        return unit, "" if done.returncode == 0 else done.stdout.strip() or done.stderr.strip()


def main(arguments):
    if not arguments:
        sys.exit(__doc__)
    only = {pathlib.Path(name).resolve() for name in arguments[1:]}
    CACHE.mkdir(parents=True, exist_ok=True)
    units = read_units(pathlib.Path(arguments[0]).resolve(), only)
    todo = [unit for unit in units if not unit.is_known_clean()]
    linter = Linter(make_torch_header(todo))
    num_done = num_found = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(linter.lint_together, batch) for batch in make_batches(todo)]
        for job in concurrent.futures.as_completed(jobs):
            for unit, findings in job.result():
                num_done += 1
                print(f"[{num_done}/{len(todo)}] {unit.name()}", flush=True)
                if findings:
                    num_found += 1
                    print(findings, flush=True)
                else:
                    (CACHE / unit.key).touch()
    if not only:
        keep = {unit.key for unit in units}
        for path in CACHE.iterdir():
            if path.name not in keep:
                path.unlink()
    print(f"{len(units)} sources: {len(units) - len(todo)} unchanged, {len(todo)} looked at, "
          f"{num_found} with findings")
    return 1 if num_found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
