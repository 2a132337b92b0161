#!/usr/bin/env python3
"""Tries the page of `longlora serve` in a browser: everything a user does on it, what goes wrong on the way, and
what hostile answers try. Takes no model: the server's echo engine repeats the question.

    scripts/check_page.py                       with build/release/longlora
    scripts/check_page.py --command 'CMD…'      another server; {port} stands for the port
    scripts/check_page.py --images docs/images  also makes the pictures of the documentation
    scripts/check_page.py -k stop               only checks whose names have "stop"

Takes Debian's chromium and chromium-driver, and Python's selenium and axe-core-python (a venv will do). Nothing of
this is needed to build, use or test the program otherwise.
"""

import argparse
import json
import pathlib
import shlex
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request

import axe_core_python
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

REPO = pathlib.Path(__file__).resolve().parent.parent
AXE = (pathlib.Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
WAIT_S = 15

# What a model may be made to write. Each tries to run `attacked()` in its own way.
ATTACKS = [
    "<img src=x onerror=attacked()>",
    "<script>attacked()</script>",
    "<svg onload=attacked()>",
    "[click](javascript:attacked())",
    "[click](JaVaScRiPt&colon;attacked())",
    "[click](\tjavascript:attacked())",
    "[click](data:text/html,<script>attacked()</script>)",
    "[click](vbscript:attacked())",
    "![x](x\"onerror=\"attacked())",
    "![image](https://outside.invalid/pixel.png)",
    "<https://outside.invalid/\"onmouseover=\"attacked()>",
    "`</code><img src=x onerror=attacked()>`",
    "```html\"><img src=x onerror=attacked()>\n</pre><script>attacked()</script>\n```",
    "| <img src=x onerror=attacked()> | [a](javascript:attacked()) |\n|---|---|\n| <iframe srcdoc='<script>parent.attacked()</script>'> | x |",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=attacked()&gt;\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=attacked()>",
    "<svg></p><style><a id=\"</style><img src=1 onerror=attacked()>\">",
    "<noscript><p title=\"</noscript><img src=x onerror=attacked()>\">",
    "$\\href{javascript:attacked()}{x}$ $\\htmlData{onclick=attacked()}{y}$ $\\includegraphics{https://outside.invalid/x.png}$",
    "$$\\def\\a{\\a\\a}\\a$$",
    "<base href=https://outside.invalid/><link rel=stylesheet href=//outside.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=https://outside.invalid/'>",
]

MARKDOWN = """# The clock

It was **Josef Kell**, *the chandler*: see `pin` and $\\frac{a}{b} = x^2$.

1. A narrow file
2. with a broken tip
   - nested

| Who | Years |
|:---|---:|
| Aron | 40 |

```python
print("twelve")
```

$$\\int_0^1 x\\,dx = \\tfrac{1}{2}$$

> Then there were twelve.

[a link](https://example.org/) and 2 * 3 * 4, snake_case_name, $5 and $10."""


class Proxy:
    """Passes connections on to the server; cut() breaks all of them, as a bad network would."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for end in self.open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open = []


class Server:
    def __init__(self, command):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [word.replace("{port}", str(self.port)) for word in shlex.split(command)]
        self.process = subprocess.Popen(words, cwd=REPO)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"[server] expected {command} to listen on port {self.port}, got nothing for 10 s")

    def get(self, route):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{route}") as response:
            return response.headers, response.read()

    def end(self):
        self.process.terminate()
        self.process.wait(30)


class Page:
    """A browser on the page, with the words of the checks."""

    def __init__(self, port, width=1280, height=900):
        options = webdriver.ChromeOptions()
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--force-prefers-reduced-motion"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.origin = f"http://127.0.0.1:{port}"
        self.origins = (self.origin + "/", "blob:", "data:", "about:", "chrome")
        self.requests = []
        self.size(width, height)
        self.open()

    def size(self, width, height, scale=1):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False})

    def open(self, rest="/"):
        self.driver.get(self.origin + rest)
        self.until(lambda: "tokens" in self.id("model").text or self.id("model").text == "No connection", "the model's line")

    def id(self, name):
        return self.driver.find_element(By.ID, name)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition, what, seconds=WAIT_S):
        try:
            WebDriverWait(self.driver, seconds, 0.03).until(lambda _: condition())
        except Exception as error:
            raise AssertionError(f"expected {what} within {seconds} s; the page: {self.id('main').text[:600]}") from error

    def press(self, selector, text):
        button = [one for one in self.all(selector) if one.text == text][0]
        self.run("arguments[0].scrollIntoView({block: 'center'})", button)
        self.run("arguments[0].click()", button)

    def write(self, text):
        self.id("question").clear()
        self.run("const q = arguments[0]; q.value = arguments[1]; q.dispatchEvent(new Event('input'))", self.id("question"), text)

    def ask(self, text):
        before = len(self.all(".turn"))
        self.write(text)
        self.id("question").send_keys(Keys.ENTER)
        self.until(lambda: len(self.all(".turn")) > before, "a turn for the question")

    def is_idle(self):
        return not self.id("stop").is_displayed()

    def answered(self, seconds=60):
        self.until(self.is_idle, "an answer that ends", seconds)

    def answer(self):
        return self.all(".answer")[-1].text

    def foot(self):
        return self.all(".foot")[-1].text

    def paste(self, text, name="Pasted text"):
        self.id("paste").click()
        self.run("document.getElementById('paste-name').value = arguments[0];"
                 "document.getElementById('paste-text').value = arguments[1]", name, text)
        self.id("take-paste").click()
        self.until(lambda: self.id("card").is_displayed() or self.id("document-problem").is_displayed(), "the text's card")

    def axe(self):
        """Rules of axe that the page breaks seriously or critically."""
        # The page's policy forbids inserted scripts; WebDriver evaluates this one outside of the policy.
        self.run(AXE)
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        bad = [rule for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
        return [f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for rule in bad for node in rule["nodes"]]

    def is_too_wide(self):
        return self.run("return document.documentElement.scrollWidth > innerWidth")

    def foreign_requests(self):
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        return [url for url in self.requests if not url.startswith(self.origins)]

    def complaints(self):
        return [line["message"] for line in self.driver.get_log("browser")]

    def quit(self):
        self.driver.quit()


def expect(condition, what):
    if not condition:
        raise AssertionError(f"expected {what}")


def same(found, wanted, what):
    expect(found == wanted, f"{what} {wanted!r}, got {found!r}")


# --- The checks. Each takes a page that was just opened and the server. -------------------------------------

def check_policy_headers(page, server):
    headers, _ = server.get("")
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
        expect(part in policy, f"{part} in the policy, got {policy}")
    expect("unsafe" not in policy and "*" not in policy, f"no exception in the policy, got {policy}")
    same(headers["X-Content-Type-Options"], "nosniff", "X-Content-Type-Options")


def check_question_without_text(page, server):
    page.ask("What is a lighthouse?")
    page.answered()
    expect("lighthouse" in page.answer(), f"the echo of the question, got {page.answer()!r}")
    expect("tokens/s" in page.foot(), f"a rate below the answer, got {page.foot()!r}")


def check_story_and_chips(page, server):
    page.id("sample").click()
    page.until(lambda: page.all(".chip"), "questions to begin with")
    expect("tokens of" in page.id("card").text, f"a count on the card, got {page.id('card').text!r}")
    page.all(".chip")[0].click()
    page.until(lambda: page.all(".turn"), "a turn")
    page.answered()
    same(page.all(".chip"), [], "chips after the first question")
    # The text is known now: the second question finds it in the cache.
    page.ask("And who is Tomas?")
    page.answered()
    expect("in the cache" in page.foot(), f"cached tokens below the second answer, got {page.foot()!r}")
    page.press("#card button", "New conversation on it")
    page.until(lambda: not page.all(".turn") and page.all(".chip"), "a new conversation on the same text")


def check_file_is_read(page, server):
    path = pathlib.Path("/tmp/page-check-büch.txt")
    path.write_bytes("Es war einmal ein Leuchtturm – überall Nebel.".encode())
    try:
        page.id("file").send_keys(str(path))
        page.until(lambda: page.id("card").is_displayed(), "the file's card")
    finally:
        path.unlink()
    expect("büch.txt" in page.id("card").text, f"the file's name, got {page.id('card').text!r}")
    page.all("#card button")[0].click()
    page.until(lambda: page.id("drop").is_displayed(), "the place to drop a text, after Remove")


def check_long_paste_becomes_text(page, server):
    page.run("""const data = new DataTransfer(); data.setData('text/plain', 'A long tale. '.repeat(300));
      document.getElementById('question').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}))""")
    page.until(lambda: page.id("card").is_displayed(), "a card for the pasted text")


def check_too_long_is_said_and_cut(page, server):
    window = json.loads(server.get("props")[1])["window"]
    text = "\n\n".join(f"Chapter {n}. The lamp burned all night, and nobody came to ask why it did." for n in range(window // 12))
    for cut in ("beginning", "end", "both"):
        page.open()
        page.paste(text, "Long tale")
        page.until(lambda: "too long by" in page.id("card").text, "how much the text is too long by")
        expect(not page.id("send").is_enabled(), "no way to ask while the text is too long")
        page.all(f"input[value={cut}]")[0].click()
        page.press("#card button", "Cut the text")
        page.until(lambda: page.all(".cut"), "what was cut, in words", 60)
        expect("Cut: the model reads" in page.all(".cut")[0].text, "what the model reads")
        expect("too long" not in page.id("card").text, "a text that fits after the cut")
    page.ask("Who came?")
    page.answered()
    expect(not page.id("problem").is_displayed(), f"no refusal after the cut, got {page.id('problem').text!r}")


def check_reading_is_seen(page, server):
    page.paste("word " * 12000, "Slow")
    page.ask("What?")
    page.until(lambda: page.all("progress.reading") and page.all("progress.reading")[0].is_displayed(), "a reading bar")
    page.until(lambda: "tokens/s" in page.all(".status")[-1].text or page.is_idle(), "a rate while reading")
    page.answered()


def check_stop_ends_the_job(page, server):
    page.ask("slowly " * 400)
    page.until(lambda: "slowly" in page.answer(), "the first words")
    page.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    page.until(page.is_idle, "the end within 3 s after Escape", 3)
    expect("Stopped." in page.foot(), f"'Stopped.' below the answer, got {page.foot()!r}")
    length = len(page.answer())
    time.sleep(0.6)
    same(len(page.answer()), length, "length of the stopped answer later")
    # The engine is free: the next answer begins at once.
    page.ask("Free?")
    page.answered(10)


def check_reload_in_the_middle(page, server):
    page.ask("again and again " * 100)
    page.until(lambda: "again" in page.answer(), "the first words")
    expect("job=" in page.driver.current_url, f"the job in the address, got {page.driver.current_url}")
    page.driver.refresh()
    page.until(lambda: page.all(".turn"), "the turn after the reload")
    page.answered()
    same(page.answer().split().count("again"), 200, "words of the answer after a reload")
    expect("job=" not in page.driver.current_url, "no job in the address after the end")


def check_reload_while_reading(page, server):
    page.paste("word " * 12000, "Slow")
    page.ask("Which word, I ask?")
    page.driver.refresh()
    page.until(lambda: page.all(".turn") and page.id("card").is_displayed(), "turn and text after the reload")
    page.answered()
    expect("Which word" in page.answer(), f"the whole answer, got {page.answer()[-200:]!r}")


def check_dropped_stream(page, server):
    proxy = Proxy(server.port)
    page.origin = f"http://127.0.0.1:{proxy.port}"
    page.origins += (page.origin + "/",)
    page.open()
    page.ask("over and over " * 80)
    for _ in range(3):
        length = len(page.answer())
        page.until(lambda: len(page.answer()) > length, "words after the cut")
        proxy.cut()
    page.answered()
    same(page.answer().split().count("over"), 160, "words after three broken connections")
    page.complaints()  # Chromium tells of each broken connection, as it should.


def check_two_tabs(page, server):
    page.ask("both " * 150)
    page.until(lambda: "both" in page.answer(), "the first words")
    first, address = page.driver.current_window_handle, page.driver.current_url
    page.driver.switch_to.new_window("tab")
    page.driver.get(address)
    page.until(lambda: page.all(".turn"), "the turn in the second tab")
    page.answered()
    same(page.answer().split().count("both"), 150, "words in the second tab")
    page.ask("From the second tab")
    page.answered()
    page.driver.close()
    page.driver.switch_to.window(first)
    page.until(lambda: len(page.all(".turn")) == 2, "both turns in the first tab")
    page.answered()
    same(page.all(".answer")[0].text.split().count("both"), 150, "words in the first tab")


def check_history(page, server):
    page.ask("The first conversation")
    page.answered()
    page.id("new-conversation").click()
    page.until(lambda: not page.all(".turn"), "an empty page")
    page.ask("The second conversation")
    page.answered()
    page.open()
    page.until(lambda: len(page.all(".entry")) == 2, "two conversations after a reload")
    page.all(".entry")[1].click()
    page.until(lambda: page.all(".question") and page.all(".question")[0].text == "The first conversation", "the first one again")
    [one for one in page.all("#conversations button.link") if one.text == "Delete"][1].click()
    page.id("confirm-yes").click()
    page.until(lambda: len(page.all(".entry")) == 1, "one conversation after Delete")
    page.id("delete-all").click()
    page.id("confirm-yes").click()
    page.until(lambda: len(page.all(".entry")) == 0, "none after Delete all")
    page.open()
    same(len(page.all(".entry")), 0, "conversations after a reload")


def check_another_answer(page, server):
    page.ask("Say it twice")
    page.answered()
    page.press(".foot button", "Another answer")
    page.until(lambda: "2 of 2" in page.foot(), "the second answer", 30)
    page.all(".pager button")[0].click()
    page.until(lambda: "1 of 2" in page.foot(), "the first answer again")


def check_settings(page, server):
    page.id("open-settings").click()
    page.id("max_tokens").clear()
    page.id("max_tokens").send_keys("3")
    page.id("seed").send_keys("7")
    page.all("#settings .primary")[0].click()
    page.ask("one two three four five six seven")
    page.answered()
    expect("longest length" in page.foot() and "seed 7" in page.foot(), f"length and seed below the answer, got {page.foot()!r}")
    page.open()
    page.id("open-settings").click()
    same(page.id("max_tokens").get_attribute("value"), "3", "length after a reload")
    same(page.axe(), [], "serious findings of axe in the settings")


def check_too_long_question_offers_a_cut(page, server):
    window = json.loads(server.get("props")[1])["window"]
    page.paste("tale " * (window - 1200), "Nearly full")
    expect("too long" not in page.id("card").text, f"a text that fits, got {page.id('card').text!r}")
    page.write("why " * 900)
    page.id("question").send_keys(Keys.ENTER)
    page.until(lambda: page.id("problem").is_displayed(), "a refusal")
    expect(f"{window:,}" in page.id("problem").text, f"the window in the refusal, got {page.id('problem').text!r}")
    same(page.id("question").get_attribute("value").count("why"), 900, "words of the question, which stays")
    page.press("#card button", "Cut the text")
    page.until(lambda: page.all(".cut"), "a shorter text", 60)
    page.id("question").send_keys(Keys.ENTER)
    page.until(lambda: page.all(".turn"), "the question to be taken")
    page.complaints()  # Chromium tells of the answer with status 400.


def check_server_that_forgets(page, server):
    page.ask("Remember me")
    page.answered()
    page.run("""const opening = indexedDB.open('longlora');
      opening.onsuccess = () => {
        const records = opening.result.transaction('conversations', 'readwrite').objectStore('conversations');
        records.getAll().onsuccess = (event) => {
          const record = event.target.result[0];
          Object.assign(record.turns[0].answers[0], {state: 'running', job: 'gone'});
          records.put(record);
        };
      };""")
    page.driver.refresh()
    page.until(lambda: page.all(".turn .problem") and page.all(".turn .problem")[0].is_displayed(), "what happened, in words")
    expect("Remember me" in page.answer(), "what was kept of the answer")
    page.press(".foot button", "Try again")
    page.until(lambda: "2 of 2" in page.foot(), "another answer")
    page.complaints()  # Chromium tells of the answer with status 404.


def check_markdown(page, server):
    page.ask(MARKDOWN)
    page.answered()
    page.until(lambda: page.all(".answer math"), "formulas")
    for selector, number in (("strong", 1), ("em", 1), ("ol > li", 2), ("ol ul > li", 1), ("td", 2), ("pre code", 1),
                             ("blockquote", 1), ("a[rel~=noopener]", 1), ("math", 2), ("h3", 1)):
        same(len(page.all(f".answer {selector}")), number, f"number of {selector}")
    expect("2 * 3 * 4, snake_case_name, $5 and $10." in page.answer(), "marks that mean nothing, as they were written")


def check_attacks(page, server):
    page.run("window.attacks = 0; window.attacked = () => window.attacks++")
    for attack in ATTACKS:
        page.ask(attack)
        page.answered()
    time.sleep(0.5)
    same(page.run("return window.attacks"), 0, "number of attacks that ran")
    same(len(page.all(".answer :is(img, script, iframe, svg, style, form, link, meta, base, object)")), 0, "elements from answers")
    addresses = page.run("return [...document.querySelectorAll('.answer a')].map((a) => a.protocol)")
    expect(all(one in ("http:", "https:") for one in addresses), f"only http and https in links, got {addresses}")
    handlers = page.run("""return [...document.querySelectorAll('.answer *')].flatMap((node) => node.getAttributeNames())
      .filter((name) => name.startsWith('on') || name === 'style' || name === 'srcdoc')""")
    same(handlers, [], "handlers in answers")


def check_endless_marks(page, server):
    """What takes quadratic time somewhere takes minutes here."""
    marks = ["*a ", "**a", "_a ", "*a_b**c__ ", "`a``b", "[", "[a](", "$a ", "\\(", "> ", "|", "- ", "```\n", "a\n", "http://", "~~a "]
    page.driver.set_script_timeout(60)
    number = page.driver.execute_async_script("""const [marks, done] = arguments;
      import('./markdown.js').then(({MarkdownView}) => {
        const texts = [...marks.map((mark) => mark.repeat(50000)), Array.from({length: 500}, (_, depth) => ' '.repeat(2 * depth) + '- x').join('\\n')];
        for (const text of texts) new MarkdownView(document.createElement('div')).set(text);
        done(texts.length);
      })""", marks)
    same(number, len(marks) + 1, "number of texts shown")


def check_right_to_left(page, server):
    page.ask("שלום עולם, מה שלומך?")
    page.answered()
    same(page.run("return getComputedStyle(document.querySelector('.answer p')).direction"), "rtl", "direction of a Hebrew answer")


def check_keys(page, server):
    page.id("open-settings").click()
    page.id("cancel-settings").click()
    page.id("theme").send_keys("/")
    same(page.driver.switch_to.active_element.get_attribute("id"), "question", "focus after /")
    page.id("question").send_keys("a", Keys.SHIFT + Keys.ENTER, Keys.NULL, "b")
    same(page.id("question").get_attribute("value"), "a\nb", "text after Shift+Enter")
    same(len(page.all(".turn")), 0, "questions after Shift+Enter")


def check_accessible(page, server):
    for theme in ("light", "dark"):
        page.run("document.documentElement.dataset.theme = arguments[0]", theme)
        same(page.axe(), [], f"serious findings of axe at the start, {theme}")
    page.id("sample").click()
    page.until(lambda: page.all(".chip"), "chips")
    same(page.axe(), [], "serious findings of axe with a text")
    page.ask(MARKDOWN)
    page.answered()
    for theme in ("light", "dark"):
        page.run("document.documentElement.dataset.theme = arguments[0]", theme)
        same(page.axe(), [], f"serious findings of axe with an answer, {theme}")


def check_narrow_and_zoomed(page, server):
    page.id("sample").click()
    page.until(lambda: page.all(".chip"), "chips")
    page.ask(MARKDOWN + "\n\n" + "x" * 300)
    page.answered()
    for width, height in ((320, 640), (640, 400), (390, 844)):  # 640 × 400 is 1280 × 800 at 200 %
        page.size(width, height)
        time.sleep(0.2)
        expect(not page.is_too_wide(), f"no sideways scroll at {width} pixels")
    same(page.axe(), [], "serious findings of axe on a phone")
    page.id("open-history").click()
    expect(page.id("new-conversation").is_displayed(), "the history over a narrow page")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.id("new-conversation").is_displayed(), "the history closed by Escape")
    page.id("open-settings").click()
    expect(not page.is_too_wide(), "no sideways scroll with settings open")


def check_said_aloud(page, server):
    page.run("""window.said = []; new MutationObserver(() => window.said.push(document.getElementById('live').textContent))
      .observe(document.getElementById('live'), {childList: true})""")
    page.ask("The first sentence ends here. " * 8)
    page.answered()
    said = page.run("return window.said")
    expect(2 <= len(said) <= 20, f"whole sentences said in a few steps, got {said}")
    expect(all(one.endswith(".") for one in said), f"only whole sentences, got {said}")
    same(" ".join(said).count("sentence"), 8, "sentences said")


# --- Pictures and the loop ----------------------------------------------------------------------------------

def make_pictures(page, folder):
    folder.mkdir(parents=True, exist_ok=True)
    page.size(1200, 800)
    page.run("document.documentElement.dataset.theme = 'light'")
    page.driver.save_screenshot(str(folder / "page-start.png"))
    page.id("sample").click()
    page.until(lambda: page.all(".chip"), "chips")
    page.all(".chip")[0].click()
    page.answered()
    page.driver.save_screenshot(str(folder / "page-answer.png"))
    page.size(390, 844)
    page.run("document.documentElement.dataset.theme = 'dark'")
    page.driver.save_screenshot(str(folder / "page-phone-dark.png"))
    for path in folder.glob("page-*.png"):
        expect(path.stat().st_size < 150_000, f"{path} below 150 KB, got {path.stat().st_size}")


def attempt(name, check, server):
    page = Page(server.port)
    try:
        check(page, server)
        same(page.foreign_requests(), [], "requests to other servers")
        same(page.complaints(), [], "complaints of the browser")
        print(f"ok      {name}", flush=True)
        return True
    except Exception as error:  # pylint: disable=broad-except
        print(f"FAILED  {name}: {error}", flush=True)
        if not isinstance(error, AssertionError):
            traceback.print_exc()
        return False
    finally:
        page.quit()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = f"{REPO}/build/release/longlora serve --engine echo --host 127.0.0.1 --port {{port}}"
    parser.add_argument("--command", default=default)
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("-k", dest="filter", default="")
    options = parser.parse_args()
    server = Server(options.command)
    try:
        checks = {name[6:]: check for name, check in globals().items() if name.startswith("check_") and options.filter in name}
        results = [attempt(name, check, server) for name, check in checks.items()]
        if options.images:
            page = Page(server.port)
            make_pictures(page, options.images)
            page.quit()
    finally:
        server.end()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
