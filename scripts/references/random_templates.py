"""Random templates of the constructs that longlora/jinja supports, rendered by it and by jinja2 as transformers sets it up.

    python -m scripts.references.random_templates build/release/tests/jinja/jinja_render --count 20000 --seed 1
    python -m scripts.references.random_templates build/release/tests/jinja/jinja_render --file chat.jinja …

Both have to write the same text, or both to fail. What prints as an address in Python (generators, methods, macros), and
whole numbers beyond 64 bits, may fail here alone. --file renders real templates with conversations of all kinds. Prints
each difference with the way to repeat it, and a count.
"""

import argparse
import datetime
import json
import random
import re
import subprocess
import sys

from transformers.utils import chat_template_utils

NOW = 1767322800  # 2 January 2026, 03:00 UTC

USER_TEXTS = ["Hello", "", " spaced \n", "Ünï – 漢字 🙂\u2028\u00a0x", "<|im_end|> </s>", "'\"\\ {{ x }} {% y %}", "ß Σ ΑΣ ǆ",
              "a,b,,c", "<think>\nhm\n</think>\n\nso", "1_0", " 12 ", "-3.5e2", "line\r\nline\x0bline"]


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


class Ours:
    """The program under test, one request a line."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def render(self, template, variables):
        self.process.stdin.write(json.dumps({"template": template, "variables": variables, "now": NOW}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"[render] the program ended at {template!r}")
        return json.loads(line)


def theirs(template, variables):
    try:
        return {"text": chat_template_utils._compile_jinja_template(template).render(**variables)}
    except Exception as error:  # whatever Python says
        return {"error": f"{type(error).__name__}: {error}"}


# Where ours may refuse what Python prints: addresses, numbers beyond 64 bits, formatting; jinja2 takes a constant that
# cannot be cut for undefined.
REFUSED_HERE = re.compile(r"prints the same|64 bits|\"\|list\" makes|formatting a text|behind the filter|\"safe\" last|is not supported|nested"
                          r"|works on at most|too long a text|smaller numbers of a range|in a macro or a set block|no complex number|or a list to cut, got (int|bool|float|NoneType|None)")


class Generator:
    """Draws templates. Names are few, so that what is set is also read; what is set has other names than what is given: jinja2
    decides before it runs where a name belongs, so that a name which an inner block reads before the outer one sets it is
    undefined there although it is given."""

    NAMES = ["x", "y", "ns.a", "messages", "m", "tools", "d", "n", "f", "s", "items", "p", "q", "messages[0].role", "d", "missing"]
    FILTERS = ["upper", "lower", "trim", "capitalize", "title", "length", "list", "first", "last", "string", "tojson", "int", "float",
               "abs", "round", "reverse", "sort", "unique|list", "join", "join(', ')", "join('-', attribute='role')", "default('d')",
               "d('e', true)", "replace('a', 'b')", "replace('l', '', 1)", "replace('', '.')", "indent", "indent(2, true)", "indent(1, blank=true)", "dictsort",
               "items|list", "map('upper')|list", "map(attribute='role')|list", "map(attribute='a.0', default='q')|list", "select|list", "reject('none')|list", "max", "min", "sum",
               "selectattr('role')|list", "selectattr('role', 'eq', 'user')|list", "rejectattr('role', 'in', ['user'])|list",
               "tojson(indent=2)", "tojson(indent=4, sort_keys=true)", "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", "count", "round(1)",
               "round(1, 'floor')", "round(2, method='ceil')", "dictsort(by='value')", "sort(reverse=true)", "sort(case_sensitive=true)", "sort(attribute='role')", "trim('H ')",
               "select('string')|map('length')|list", "map('default', 'z')|list"]
    TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "true", "false",
             "odd", "even", "divisibleby 2", "eq 'user'", "in ['user', 1]", "sameas true", "gt 1", "callable", "ne 3", "ge 2"]
    METHODS = ["strip()", "lstrip()", "rstrip()", "strip('H ')", "split()", "split(',')", "split('a', 1)", "rsplit(',', 1)", "rsplit(none, 1)", "upper()", "lower()", "title()",
               "startswith('H')", "endswith(('o', 'x'))", "replace('a', 'b')", "replace('', '-', 2)", "find('l')", "rfind('l')", "count('l')", "splitlines()", "items()|list", "keys()|list",
               "values()|list", "get('a')", "get('q', 7)", "capitalize()", "removeprefix('H')", "removesuffix('o')", "partition(',')", "rpartition(',')", "isdigit()",
               "isspace()", "isupper()", "islower()", "isalpha()", "join(['a', 'b'])", "index('a')", "count('a')", "find('', 3)", "find('l', -2)", "startswith('e', 1)",
               "split('</think>')[-1].lstrip('\\n')", "keys()", "items()"]
    CONSTANTS = ["1", "2", "0", "-1", "3.5", "1e16", "1e-5", "'a'", "'user'", "\"it's\"", "'<b>'", "'\\n'", "'é'", "true", "false", "none", "[]", "{}", "()", "[1, 2.0, 'a']",
                 "{'a': 1, 'b': [2]}", "(1, 'x')", "''", "'a' 'b'", "range(3)", "range(5, 0, -2)", "7", "10", "namespace(a=1)", "dict(a=1, b='c')", "1_000", "'a,b'"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, options):
        return self.random.choice(options)

    def chance(self, share):
        return self.random.random() < share

    def expression(self, depth=0):
        if depth > 3 or self.chance(0.3):
            return self.pick(self.CONSTANTS) if self.chance(0.4) else self.pick(self.NAMES)
        sub = lambda: self.expression(depth + 1)
        kind = self.random.randrange(15)
        if kind == 0:
            return f"({sub()} {self.pick(['+', '-', '*', '/', '//', '%', '~', '+', '~'])} {sub()})"
        if kind == 1:
            return f"{sub()} {self.pick(['==', '!=', '<', '>', '<=', '>=', 'in', 'not in'])} {sub()}"
        if kind == 2:
            return f"{self.pick(['not ', '-', '+', ''])}{sub()}"
        if kind == 3:
            return f"({sub()} {self.pick(['and', 'or'])} {sub()})"
        if kind == 4:
            return f"({sub()} if {sub()} else {sub()})" if self.chance(0.7) else f"({sub()} if {sub()})"
        if kind in (5, 6):
            return f"{self.primary(depth)}|{self.pick(self.FILTERS)}"
        if kind == 7:
            return f"{self.primary(depth)} is {self.pick(['', 'not '])}{self.pick(self.TESTS)}"
        if kind in (8, 9):
            return f"{self.primary(depth)}.{self.pick(self.METHODS)}"
        if kind == 10:
            return f"{self.primary(depth)}[{self.pick(['0', '-1', '1', sub(), chr(39) + 'role' + chr(39), '0.5'])}]"
        if kind == 11:
            part = lambda: self.pick(["", "", "1", "-1", "2", "0", "-3", "9"])
            return f"{self.primary(depth)}[{part()}:{part()}{self.pick(['', ':' + self.pick(['1', '-1', '2', ''])])}]"
        if kind == 12:
            attributes = ["role", "content", "a", "index", "index0", "last", "first", "length", "previtem", "nextitem", "revindex", "items", "tool_calls", "0", "copy"]
            return f"{self.primary(depth)}.{self.pick(attributes)}"
        if kind == 13:
            return self.pick([f"[{sub()}, {sub()}]", f"{{'k': {sub()}, {self.pick(['1', chr(39) + 'a' + chr(39)])}: {sub()}}}", f"({sub()},)"])
        return self.pick([f"mac({sub()})", f"mac({sub()}, b={sub()})", f"range({sub()})", f"loop.cycle({sub()}, 2)", f"loop.changed({sub()})",
                          "strftime_now('%d %b %Y')", "loop.index", f"{sub()} ** 2", f"raise_exception({sub()})" if self.chance(0.1) else "messages|length", f"{sub()} < {sub()} < {sub()}"])

    def primary(self, depth):
        if self.chance(0.6):
            return self.pick(["x", "messages", "messages[0]", "messages[1]['content']", "s", "d", "m.content", "m", "'Hello, a'", "ns.a", "m.role", "s", "s", "messages", "d", "items"] + (["loop"] if self.chance(0.1) else []))
        return f"({self.expression(depth + 1)})"

    def open(self, kind):
        return kind + self.pick(["", "", "-", "+" if kind == "{%" else "-"]) + " "

    def close(self, kind):
        return " " + self.pick(["", "", "-", "+" if kind == "%}" else ""]) + kind

    def tag(self, text):
        return self.open("{%") + text + self.close("%}")

    def data(self):
        return self.pick(["", " ", "\n", "text", "  \n", "\n  ", "a\tb ", "é\n\n", "<|im_start|>", "{ ", "%}", "\u00a0", "}}\n"])

    def template(self):
        """With what most expressions need, so that most templates get to their end."""
        return ("{% macro mac(a, b='B') %}<{{ a }}{{ b }}>{% endmacro %}{% set ns = namespace(a=" + self.pick(self.CONSTANTS[:18]) + ") %}"
                + self.block())

    def block(self, depth=0, in_loop=False):
        return "".join(self.statement(depth, in_loop) for _ in range(self.random.randrange(1, 4)))

    def statement(self, depth, in_loop):
        kind = self.random.randrange(12) if depth < 3 else self.random.randrange(5)
        if kind <= 1:
            return self.data()
        if kind <= 4:
            return self.open("{{").replace("+", "-") + self.expression() + self.pick([" ", " -"]) + "}}"
        body = lambda loop=in_loop: self.data() + self.block(depth + 1, loop) + self.data()
        if kind == 5:
            text = self.tag(f"if {self.expression()}") + body()
            if self.chance(0.3):
                text += self.tag(f"elif {self.expression()}") + body()
            if self.chance(0.4):
                text += self.tag("else") + body()
            return text + self.tag("endif")
        if kind in (6, 7):
            target, things = self.pick([("m", "messages"), ("m", "messages[1:]"), ("y", "range(3)"), ("x", "s"), ("k, v", "d.items()"), ("x", self.primary(1)), ("m", "messages[::-1]"), ("x, y", "d|dictsort")])
            text = self.tag(f"for {target} in {things}" + (f" if {self.expression(2)}" if self.chance(0.2) else "")) + body(True)
            if self.chance(0.2):
                text += self.tag("else") + body()
            return text + self.tag("endfor")
        if kind == 8:
            return self.tag(self.pick([f"set {self.pick(['p', 'q'])} = {self.expression()}", f"set ns = namespace(a={self.expression(2)})", f"set ns.a = {self.expression()}",
                                       f"set p, q = {self.expression(2)}, {self.expression(2)}"]))
        if kind == 9:
            return self.tag(self.pick(["set p", "set q | trim | upper"])) + body(False) + self.tag("endset")
        if kind == 10 and in_loop:
            return self.tag(f"if {self.expression(2)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")
        return self.pick(["{# a comment #}", "{#- another -#}\n", self.tag("raw") + "{{ no }} " + self.tag("endraw"), self.tag("generation") + body(False) + self.tag("endgeneration"),
                          self.tag("macro mac(a, b='B')") + "{{ a }}" + body(False) + "{{ b }}" + self.tag("endmacro")])

    def variables(self):
        messages = [{"role": self.pick(["user", "assistant", "system"]), "content": self.pick(USER_TEXTS)} for _ in range(self.random.randrange(4))]
        return {"messages": messages, "tools": self.pick([None, [], [{"a": [1, "é"]}]]), "n": self.pick([0, 1, 3, -2]), "f": self.pick([2.5, -0.5, 0.125, 1e22]),
                "x": self.pick(["Hello", "user", 3, ["a", "b"], None, True]), "y": self.pick(["one, two", 2, [1], {"a": 1}]),
                "m": {"role": "user", "content": self.pick(USER_TEXTS)}, "s": self.pick(USER_TEXTS), "d": self.pick([{}, {"b": 1, "a": "x"}, {"a": [1, None], "role": "user", "items": 3}]), "items": [3, 1, 2],
                "add_generation_prompt": self.chance(0.5), "bos_token": "<s>", "eos_token": "</s>"}


def is_same(ours, other):
    if "error" in ours:
        return "error" in other or bool(REFUSED_HERE.search(ours["error"]))
    return ours.get("text") == other.get("text")


def run_random(ours, count, seed):
    differences = both_fail = 0
    for number in range(seed, seed + count):
        generator = Generator(number)
        variables = generator.variables()
        template = generator.template()
        first, second = ours.render(template, variables), theirs(template, variables)
        both_fail += "error" in first and "error" in second
        if is_same(first, second):
            continue
        differences += 1
        print(f"seed {number}: {template!r}\n  variables {json.dumps(variables, ensure_ascii=False)}\n  ours {first}\n  jinja2 {second}")
    print(f"{count} templates, {differences} different, {both_fail} failed in both")
    return differences


def conversations():
    user = lambda content: {"role": "user", "content": content}
    answer = lambda content, **more: {"role": "assistant", "content": content, **more}
    system = lambda content: {"role": "system", "content": content}
    call = {"type": "function", "id": "abcdefghi", "function": {"name": "weather", "arguments": {"city": "Bern", "days": 2, "x": [1, None, True]}}}
    result = {"role": "tool", "name": "weather", "tool_call_id": "abcdefghi", "content": "sunny"}
    return [
        [], [user("Hello")], [user("Hello"), answer("Hi")], [system("Be kind."), user("Hello")], [user(text) for text in USER_TEXTS[:1]],
        [turn for text in USER_TEXTS for turn in (user(text), answer(text))], [system("  S\n"), user("\n a "), answer(" b\n"), user("c")],
        [answer("x"), user("y")], [user("x"), user("y")], [user("q"), answer("r", reasoning_content="why"), user("w")],
        [user("weather?"), answer("", tool_calls=[call]), result, answer("It is sunny."), user("thanks")],
        [user("weather?"), answer(None, tool_calls=[call]), result], [user([{"type": "text", "text": "part"}, {"type": "text", "text": "two"}]), answer("a")],
    ]


def tool():
    return {"type": "function", "function": {"name": "weather", "description": "Get <the> \"weather\" – é", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": ["Bern", "Genève"]}, "days": {"type": ["integer", "null"], "default": 3}},
        "required": ["city"]}}}


def run_file(ours, path):
    text = open(path, encoding="utf-8").read()
    template = json.loads(text)["chat_template"] if path.endswith(".json") else text
    count = differences = 0
    for messages in conversations():
        for prompt in (False, True):
            for more in ({}, {"tools": [tool()]}, {"tools": [], "enable_thinking": False}):
                variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>", **more}
                first, second = ours.render(template, variables), theirs(template, variables)
                count += 1
                if not is_same(first, second):
                    differences += 1
                    print(f"{path}: {json.dumps(variables, ensure_ascii=False)}\n  ours {first}\n  jinja2 {second}")
    print(f"{path}: {count} conversations, {differences} different")
    return differences


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", help="build/release/tests/jinja/jinja_render")
    arguments.add_argument("--count", type=int, default=20000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--file", nargs="+", default=[])
    given = arguments.parse_args()
    chat_template_utils.datetime = Clock
    ours = Ours(given.program)
    if given.file:
        sys.exit(1 if sum(run_file(ours, path) for path in given.file) else 0)
    sys.exit(1 if run_random(ours, given.count, given.seed) else 0)


if __name__ == "__main__":
    main()
