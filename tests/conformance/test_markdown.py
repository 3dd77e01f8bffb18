"""A plan as Markdown, rendered by GitHub's own parser: whatever a stack or AWS says stays text."""

import html.parser
import json
import re
import subprocess

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from stage import TRUNNION, Setup, stack_file

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details></table><h1>approved</h1>",
    "<!-- trunnion -->",
    "[approved](http://evil.example/)",
    "![x](http://evil.example/x.png)",
    "[ref]: http://evil.example/",
    "http://evil.example/ and https://evil.example/",
    "www.evil.example",
    "me@evil.example and @octocat and @acme/team",
    "closes #1 and acme/load#2",
    "a | b | c",
    "```\n# heading\n```",
    "````` ` `` `",
    "`code` **bold** _it_ ~~gone~~ $x$ ==y==",
    "\n\n# heading\n\n- [ ] task\n\n> quote\n",
    "\\` \\| \\\\",
    "&lt;b&gt; &#64;octocat",
    "+1\n-1\n@@ -1 +1 @@",
    "ends with `",
    "\u001b[31mred \u202etxet",
]
# What GitHub's parser makes of our own markup.
OURS = set("h2 h3 p strong em ul li code pre table thead tbody tr th td details summary".split())
# Keys whose values come from a stack, from AWS, or from a file that somebody edited.
TEXTS = set(
    "message help identity by stack pool instance_type of item source name id before after currency location".split()
)


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.prose, self.all = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.inside.append(tag)
        assert all(name in ("align", "lang", "class") for name, _ in attributes), attributes

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_comment(self, data):
        raise AssertionError(data)

    def handle_data(self, data):
        self.all.append(data)
        if not {"code", "pre"} & set(self.inside):
            self.prose.append(data)


def spoiled(value, text, key=""):
    if isinstance(value, dict):
        return {name: spoiled(one, text, name) for name, one in value.items()}
    if isinstance(value, list):
        return [spoiled(one, text, key) for one in value]
    return text if isinstance(value, str) and key in TEXTS else value


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """The plan of a new stack, and one with every kind of change."""
    setup = Setup(tmp_path_factory.mktemp("markdown"), stack_file("loadtest"))
    machine = setup.machine
    machine.succeed("plan", "--out", "new.json")
    machine.succeed("apply", "--yes")
    stack = machine.folder / "stack.yaml"
    stack.write_text(stack.read_text().replace("count: 4", "count: 3").replace("team: performance", "team: load"))
    machine.succeed("plan", "--out", "changed.json", "--replace", "instance.probe[0]")
    yield [machine.folder / "new.json", machine.folder / "changed.json"]
    setup.stop()


def rendered(path):
    ended = subprocess.run([TRUNNION, "show", path, "--markdown"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout) < 65_536
    # As on GitHub, which removes what is dangerous only afterwards.
    return ended.stdout, Page(cmarkgfm.github_flavored_markdown_to_html(ended.stdout, options=Options.CMARK_OPT_UNSAFE))


def test_a_plan_is_a_page_with_tables(plans):
    for path in plans:
        _, page = rendered(path)
        assert page.tags == OURS, page.tags ^ OURS
        text = "".join(page.all)
        changes = json.loads(path.read_text())["compared"]["changes"]
        kinds = {change["address"].split(".")[0] for change in changes if change["action"] != "none"}
        assert all(kind in text for kind in kinds)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_values_stay_text(plans, tmp_path, number):
    hostile = HOSTILE[number]
    for at, path in enumerate(plans):
        spoilt = tmp_path / f"{at}.json"
        spoilt.write_text(json.dumps(spoiled(json.loads(path.read_text()), hostile)))
        source, page = rendered(spoilt)
        assert page.tags <= OURS, page.tags - OURS
        prose = "".join(page.prose)
        assert not re.search(r"@\w|#\d", prose), prose
        assert "\u001b" not in source and "\u202e" not in source
        # It is there, and nothing of it was taken as markup.
        words = re.findall(r"\w+", hostile.replace("\u001b", "").replace("\u202e", ""))
        assert all(word in "".join(page.all) for word in words)
