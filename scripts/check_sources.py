#!/usr/bin/env python3
"""Checks what clang-format and clang-tidy 14 cannot: no C++ file has more than
450 lines, a body of one line has no braces, and /// stands in headers alone,
where it documents declarations.

    scripts/check_sources.py [FILE...]     every source and header by default
    scripts/check_sources.py --self-test   that offending files are found

The branches of one if and its else either all have braces or none has: they
have them as soon as one of the bodies is longer than a line.
"""

import pathlib
import re
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("longlora", "tests", "benchmarks", "models")
MAX_LINES = 450
RAW_STRING = re.compile(r'R"(\w*)\(.*?\)\1"', re.DOTALL)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
CHARACTER = re.compile(r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'")
COMMENT = re.compile(r"\s*//.*")
DECLARATION_COMMENT = re.compile(r" *///")
STATEMENT = re.compile(r"( *)(if|for|while)\b")
ASSERTION = re.compile(r" *(EXPECT|ASSERT)_")  # of GoogleTest: an if with an else of its own


def code_lines(text):
    """The lines of a file, without what its literals say."""
    text = RAW_STRING.sub(lambda literal: '""' + "\n" * literal.group().count("\n"), text)
    text = CHARACTER.sub("' '", STRING.sub('""', text))
    return text.split("\n")


def end_of_head(lines, at):
    """The line on which the parentheses of the statement that begins at a line close."""
    depth = 0
    for place in range(at, len(lines)):
        code = COMMENT.sub("", lines[place])
        depth += code.count("(") - code.count(")")
        if depth <= 0:
            return place
    return len(lines) - 1


def branches(lines, at, indent):
    """[(whether it has braces, its lines)] of the bodies of a statement and of its else."""
    found = []
    while True:
        first = end_of_head(lines, at) + 1
        braced = COMMENT.sub("", lines[first - 1]).endswith("{")
        end = first
        while end < len(lines) and (lines[end].startswith(indent + " ") or (braced and not lines[end])):
            end += 1
        found.append((braced, lines[first:end]))
        following = lines[end] if end < len(lines) else ""
        if not following.startswith(indent + ("} else" if braced else "else")):
            return found
        at = end


def brace_problem(keyword, bodies):
    """What is wrong with the braces of these branches, or None."""
    if len({braced for braced, _ in bodies}) == 2:
        return "expected braces on all branches or on none"
    # Without its braces an inner if would take the else of the outer one.
    takes_else = len(bodies) > 1 and any(STATEMENT.match(line) for _, body in bodies for line in body)
    takes_else |= keyword == "if" and any(ASSERTION.match(line) for _, body in bodies for line in body)
    if bodies[0][0] and all(len(body) == 1 for _, body in bodies) and not takes_else:
        return "expected no braces around one line"
    return None


def problems(path, text):
    """["PATH:LINE: what is wrong"] of a file."""
    found = []
    num_lines = text.count("\n")
    if num_lines > MAX_LINES:
        found.append(f"{path}:{MAX_LINES + 1}: expected at most {MAX_LINES} lines, got {num_lines}; split the file")
    lines = code_lines(text)
    for at, line in enumerate(lines):
        if path.suffix == ".cpp" and DECLARATION_COMMENT.match(line):
            found.append(f"{path}:{at + 1}: expected //, got ///, which documents declarations in headers")
        statement = STATEMENT.match(line)
        problem = statement and brace_problem(statement.group(2), branches(lines, at, statement.group(1)))
        if problem:
            found.append(f"{path}:{at + 1}: {problem}")
    return found


def self_test():
    source = pathlib.Path("a.cpp")
    one_line = "  if (a) {\n    b();\n  }\n"
    bad = {
        one_line: "no braces around one line",
        "  while (a(1,\n           2)) {\n    b(\"{\");\n  }\n": "no braces around one line",
        "  if (a) {\n    b();\n  } else {\n    c();\n  }\n": "no braces around one line",
        "  if (a) {\n    b();\n    c();\n  } else\n    d();\n": "all branches or on none",
        "/// Says what it is.\nint a;\n": "expected //, got ///",
        "\n" * (MAX_LINES + 1): f"at most {MAX_LINES} lines, got {MAX_LINES + 1}",
    }
    good = [
        "  if (a) b();\n  for (;;)\n    c();\n",
        "  if (a) {\n    b();\n  } else {\n    c();\n    d();\n  }\n",
        "  if (a) {\n    b();\n\n    c();\n  }\n",
        "  if (a) {\n    // Says why.\n    b();\n  }\n",
        "  if (a) {\n    if (b) c();\n  } else {\n    d();\n  }\n",
        "  if (a) {\n    EXPECT_TRUE(b);\n  }\n",
        '  f(R"(' + one_line + ')");\n',
        "\n" * MAX_LINES,
    ]
    for text, expected in bad.items():
        found = problems(source, text)
        if len(found) != 1 or expected not in found[0]:
            sys.exit(f"[sources] expected one complaint '{expected}', got {found} of:\n{text}")
    for text in good:
        if found := problems(source, text):
            sys.exit(f"[sources] expected no complaint, got {found} of:\n{text}")
    print("long files, needless braces, mixed branches and misplaced /// are found")



def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    paths = [pathlib.Path(name).resolve() for name in arguments]
    paths = paths or sorted(path for folder in FOLDERS for path in (REPO / folder).rglob("*.[hc]*")
                            if path.suffix in (".h", ".cpp"))
    found = [problem for path in paths for problem in problems(path.relative_to(REPO), path.read_text("utf-8"))]
    print("\n".join([*found, f"{len(paths)} files, {len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
