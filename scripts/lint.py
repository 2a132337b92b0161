#!/usr/bin/env python3
"""Runs clang-tidy (with .clang-tidy) over the project's sources and tests.

    scripts/lint.py build/release [FILE...]

Takes the sources and their flags from the build folder's compile_commands.json.
A source that was clean is not looked at again until it, a project header that it
includes, its flags or the configuration change: build/lint-cache holds an empty
file for each clean state. Exit code 1 when anything is found.

Nearly all of the time goes into walking the declarations of libtorch and of the
standard library, once for each run of clang-tidy. So some sixty sources are
looked at together, as one translation unit; those whose local names clash with
the names of others before them come into a second one.
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
FOLDERS = ("longlora", "tests", "benchmarks")
# What is fast matters less in a test than what is short.
CHECKS_OF_TESTS = "-performance-inefficient-*"
MIN_BATCH, MAX_BATCH = 8, 60
FOUND = 1  # clang-tidy's exit code where it has found something
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<((?:ATen|c10|torch)/[^>]+)>)', re.MULTILINE)
DIAGNOSED_FILE = re.compile(r"^(/[^:\n]+):\d+:\d+: (?:warning|error|fatal error|note: in instantiation)", re.MULTILINE)


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


def union_of_flags(units):
    """The flags of all units, each once."""
    flags = {}
    for unit in units:
        words = iter(unit.flags)
        for word in words:
            flags[(word, next(words)) if word == "-isystem" else (word,)] = None
    return [word for flag in flags for word in flag]


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
        self.files, self.uses_torch = project_files(source)
        digest = hashlib.sha256(common_key)
        digest.update(" ".join(flags).replace(str(build), "").replace(str(REPO), "").encode())
        for path in self.files:
            digest.update(str(path.relative_to(REPO)).encode() + b"\0" + path.read_bytes() + b"\0")
        self.key = digest.hexdigest()

    def name(self):
        return str(self.source.relative_to(REPO))

    def is_known_clean(self):
        return (CACHE / self.key).exists()

    def is_test(self):
        return self.source.is_relative_to(REPO / "tests")

    def kind(self):
        """Units of one kind can share a translation unit: sources or tests for the same processor, with or without
        libtorch."""
        processor = tuple(flag for flag in self.flags if flag.startswith(("-m", "-DLONGLORA_ISA")))
        return processor, not self.uses_torch, self.is_test()


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
    """Units that are looked at together: as few batches as keep every processor busy. Those with libtorch first."""
    kinds = {}
    for unit in sorted(units, key=lambda unit: unit.source):
        kinds.setdefault(unit.kind(), []).append(unit)
    size = max(MIN_BATCH, min(MAX_BATCH, len(units) // os.cpu_count()))
    batches = []
    for _, group in sorted(kinds.items()):
        num = -(-len(group) // size)
        batches += [group[len(group) * i // num : len(group) * (i + 1) // num] for i in range(num)]
    return batches


def write_batch(units):
    """A source that includes those of the units."""
    source = CACHE / f"{units[0].key}.cpp"
    source.write_text("".join(f'#include "{unit.source}"\n' for unit in units))
    return source


def clashing(units):
    """The units that do not compile in one translation unit with those before them."""
    source = write_batch(units)
    command = ["clang++", "-fsyntax-only", "-ferror-limit=0", *union_of_flags(units), "-w", str(source)]
    errors = subprocess.run(command, capture_output=True, text=True).stderr
    files = set(DIAGNOSED_FILE.findall(errors))
    lines = set(re.findall(rf"^In file included from {re.escape(str(source))}:(\d+)", errors, re.MULTILINE))
    return [unit for line, unit in enumerate(units, 1) if str(line) in lines or str(unit.source) in files]


def tidy(source, units):
    """What clang-tidy prints, and the units that are not clean: what is found in a header counts for all that have it."""
    flags = [*union_of_flags(units), "-w"]
    options = ["--quiet", f"--config-file={REPO / '.clang-tidy'}"]
    if units[0].is_test():
        options.append(f"--checks={CHECKS_OF_TESTS}")
    command = ["clang-tidy", *options, str(source), "--", *flags]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if done.returncode == 0:
        return "", []
    if done.returncode != FOUND:  # It has crashed and not seen everything.
        return done.stdout + done.stderr, units
    files = {pathlib.Path(name) for name in DIAGNOSED_FILE.findall(done.stdout)}
    concerned = [unit for unit in units if files.intersection(unit.files)]
    return done.stdout.strip(), concerned or units


def lint(batch):
    """[(units looked at together, what clang-tidy prints, the units among them that are not clean)]"""
    results, waiting = [], batch
    while waiting:
        apart = clashing(waiting) if len(waiting) > 1 else waiting
        together = [unit for unit in waiting if unit not in apart]
        if together:
            results.append((together, *tidy(write_batch(together), together)))
        else:  # The first does not compile, whatever comes with it.
            results.append((apart[:1], *tidy(apart[0].source, apart[:1])))
        waiting = apart if together else apart[1:]
    return results


def main(arguments):
    if not arguments:
        sys.exit(__doc__)
    only = {pathlib.Path(name).resolve() for name in arguments[1:]}
    CACHE.mkdir(parents=True, exist_ok=True)
    units = read_units(pathlib.Path(arguments[0]).resolve(), only)
    todo = [unit for unit in units if not unit.is_known_clean()]
    num_done = num_found = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in concurrent.futures.as_completed([pool.submit(lint, batch) for batch in make_batches(todo)]):
            for looked_at, findings, unclean in job.result():
                for unit in looked_at:
                    num_done += 1
                    print(f"[{num_done}/{len(todo)}] {unit.name()}", flush=True)
                    if unit not in unclean:
                        (CACHE / unit.key).touch()
                num_found += len(unclean)
                if findings:
                    print(findings, flush=True)
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
