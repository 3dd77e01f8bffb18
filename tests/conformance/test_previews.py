"""`preview` before judges of others: its page in Chromium, and its comment in GitHub's own parser. The stacks are of somebody who
wants to harm those who look at it."""

from __future__ import annotations

import html.parser
import json
import os
import re
import resource
import subprocess
import time

import cmarkgfm
import pytest
import yaml
from browser import Browser
from cmarkgfm.cmark import Options

from stage import ROOT, Ended, Machine, needed, stack_file

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<iframe src=//127.0.0.1:9/></iframe>",
    "@octocat and @acme/team",
    "closes #1 and acme/load#2",
    "![x](http://127.0.0.1:9/x.png)",
    "[approved](http://127.0.0.1:9/)",
    "http://127.0.0.1:9/ and www.evil.example and me@evil.example",
    "[^1]: http://127.0.0.1:9/",
    "<!-- trunnion key=preview run=1.1 -->",
    "</details></table></article><h2>approved</h2>",
    "a | b | c",
    "` `` ``` ```` ~~~",
    "$x$ **bold** ~~gone~~ &lt;b&gt; &#64;octocat",
]
# In the values of tags, AWS takes only these characters.
TAGS = ["@octocat", "http://127.0.0.1:9/x.png", "www.evil.example", "me@evil.example"]
# No stack may have them, so they are in files and keys that are refused.
INVISIBLE = "\u001b[31mred \u001b]8;;http://127.0.0.1:9/\u0007link \u202etxet\u2066"
SECRET = "canary-of-the-runner"
# What GitHub's parser makes of our own markup.
OURS = set("h1 h2 h3 p strong em ul li code pre table thead tbody tr th td details summary".split())


class Repository(Machine):
    """A Git repository with stacks, whose branch `main` is the base. Nothing answers in place of AWS."""

    def __init__(self, folder):
        super().__init__(folder / "repository", "http://127.0.0.1:9")
        self.credentials = {"CANARY": SECRET}
        self.out = folder / "out"
        self.git("init", "--initial-branch=main")

    def git(self, *arguments):
        command = [needed("git"), "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def write(self, name, content):
        """Writes a file: a text, bytes, or the document of a stack."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--message", "a change")

    def preview(self, *files, base="main", more=()) -> Preview:
        ended = self.run("preview", *files, "--base", base, "--offline", "--out", str(self.out), *more)
        assert self.out.exists(), ended.stderr
        return Preview(self.out, ended)


class Preview:
    """A preview in each of its forms."""

    def __init__(self, folder, ended: Ended):
        self.ended, self.page = ended, folder / "preview.html"
        self.html = self.page.read_text()
        self.markdown = (folder / "preview.md").read_text()
        self.document = json.loads((folder / "preview.json").read_text())
        assert ended.stdout.strip() == self.markdown.strip()
        for text in (ended.stdout, ended.stderr, self.html, self.markdown, json.dumps(self.document)):
            assert SECRET not in text

    @property
    def stacks(self) -> list[dict]:
        return self.document["stacks"]

    @property
    def problems(self) -> str:
        """Why stacks have no plan."""
        return "\n".join(stack["problem"]["message"] for stack in self.stacks if "problem" in stack)

    def lost(self) -> list[set[str]]:
        """For each stack, what is deleted and replaced."""
        changes = [stack["plan"]["compared"]["changes"] if "plan" in stack else [] for stack in self.stacks]
        return [{one["address"] for one in all if one["action"] in ("delete", "replace")} for all in changes]


def named(text) -> set[str]:
    """The addresses that a text names. `instance.heavy[0…2, 4]` names four."""
    found = set()
    for name, indexes in re.findall(r"(\w+\.[\w.-]+)(?:\[([^\]]+)\])?", text):
        for index in indexes.split(", "):
            first, _, last = index.partition("…")
            numbers = range(int(first), int(last) + 1) if last else [index]
            found |= {f"{name}[{number}]" if indexes else name for number in numbers}
    return found


def stack_of(name, **more) -> dict:
    return yaml.safe_load(stack_file(name)) | more


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A preview of stacks that say everything hostile wherever they can."""
    repository = Repository(tmp_path_factory.mktemp("hostile"))
    boot = (ROOT / "templates" / "boot.sh.tera").read_text()
    stack = stack_of("loadtest", tags={"team": "performance"}, generator={"template": "boot.tera"})
    stack["environments"] = {"plain": {}}
    repository.write("load.yaml", stack)
    repository.write("boot.tera", boot)
    repository.write("gone.yaml", stack_of("minimal", stack="gone"))
    repository.write("policies/echo.rego", ECHO)
    repository.write("broken.yaml", stack_of("minimal", stack="broken"))
    repository.commit()
    base = "<script>alert(1)</script>@octocat"
    repository.git("branch", base)
    repository.git("checkout", "-b", "work")

    everything = " ".join(HOSTILE)
    stack["tags"] = {"team": " ".join(TAGS), **{tag: tag for tag in TAGS}}
    stack["generator"]["variables"] = {f"v{at}": one for at, one in enumerate(HOSTILE)}
    stack["pools"]["heavy"].update(count=2, volume_gib=200)
    location = {"description": everything, "jvm_options": [f"-Dx={one}" for one in HOSTILE]}
    location["system_properties"] = {f"p{at}": one for at, one in enumerate(HOSTILE)}
    stack["locations"]["prl_heavy_paris"].update(location)
    repository.write("load.yaml", stack)
    repository.write("boot.tera", boot + "".join(f"\n# {{% raw %}}{one}{{% endraw %}}\n" for one in HOSTILE))
    (repository.folder / "gone.yaml").unlink()
    # Refused: each message says what is wrong with which text.
    pools = {one: {"instance_type": one, "zone": one} for one in [*HOSTILE, INVISIBLE]}
    locations = {"prl_small": {"pool": everything, "description": INVISIBLE, "jvm_options": [everything]}}
    repository.write("broken.yaml", stack_of("minimal", stack="broken", pools=pools, locations=locations))
    files = ["load.yaml", "broken.yaml"]
    for at, one in enumerate([*HOSTILE, INVISIBLE, "a\nb"]):
        name = one.replace("/", "∕") + ".yaml"
        change = {"template": f"{name}.tera", "variables": {"x": one}}
        repository.write(name, stack_of("minimal", stack=f"named{at}", generator=change))
        # Tera says what is wrong with a line.
        repository.write(f"{name}.tera", "#!/bin/sh\n" + ["# {{ nobody }} ", "# {% if %} ", "# "][at % 3] + one)
        # A name that begins with a hyphen would be an option.
        files.append(f"./{name}")
    repository.write("missing.yaml", stack_of("minimal", stack="missing", generator={"template": everything}))
    repository.commit()
    return repository.preview(*files, "missing.yaml", base=base)


# A policy that repeats what the stack says.
ECHO = """
package trunnion.echo

warn contains verdict if {
	some change in input.compared.changes
	change.address in {"s3_bucket.artifacts", "ecs_task_definition.control_plane"}
	some difference in change.differences
	verdict := {"message": sprintf("it is %v", [difference.after]), "help": sprintf("not %v", [difference.after])}
}
"""


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """A preview of 100 stacks of which 60 change."""
    repository = Repository(tmp_path_factory.mktemp("hundred"))
    files = [f"stacks/{at:02}.yaml" for at in range(100)]
    for at, file in enumerate(files):
        repository.write(file, small_stack(at, pool={"count": 3}))
    repository.commit()
    repository.git("checkout", "-b", "work")
    for at, file in enumerate(files[:60]):
        ways = [{"count": 1}, {"count": 3, "volume_gib": 90}, {"count": 6, "instance_type": "c7i.2xlarge"}]
        repository.write(file, small_stack(at, pool=ways[at % 3]))
    repository.commit()
    before = time.monotonic()
    preview = repository.preview(*files)
    print(f"100 stacks take {time.monotonic() - before:.1f} s, with {len(preview.markdown)} characters")
    return preview


def small_stack(at, pool) -> dict:
    stack = stack_of("minimal", stack=f"stack-{at:02}")
    stack["pools"]["small"] |= pool
    return stack


def check_page(browser, preview):
    for width in (1280, 390):
        for is_dark in (False, True):
            opened = browser.open(preview.page, width, is_dark)
            assert (opened.said, opened.fetched) == ([], []), (width, is_dark)
            assert opened.overflow == 0, (width, is_dark)
            # Of each stack, what is deleted and replaced is seen without a click.
            seen = browser.value("[...document.querySelectorAll('article')].map(one => one.innerText)")
            assert len(seen) == len(preview.stacks)
            for text, lost in zip(seen, preview.lost(), strict=True):
                assert lost <= named(text), lost - named(text)
    strange = "[...document.querySelectorAll('script, img, iframe, object, embed, form, a:not([href^=\"#\"])')]"
    assert browser.value(f"{strange}.map(one => one.outerHTML)") == []
    attributes = "[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames())"
    assert not [name for name in browser.value(attributes) if name.startswith("on")]
    return browser.value("document.documentElement.textContent")


def test_the_page_shows_hostile_text_as_text(browser, hostile):
    assert {"instance.heavy[0]", "instance.heavy[3]"} <= hostile.lost()[0], hostile.ended.stderr
    text = check_page(browser, hostile)
    assert all(one in text for one in HOSTILE)
    assert not re.search("[\u001b\u0007\u202e\u2066]", text)


class Comment(html.parser.HTMLParser):
    """A comment as GitHub's parser renders it, before GitHub removes what is dangerous."""

    def __init__(self, markdown):
        super().__init__()
        extensions = ["table", "autolink", "strikethrough", "tasklist"]
        options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_GITHUB_PRE_LANG | Options.CMARK_OPT_FOOTNOTES
        self.html = cmarkgfm.markdown_to_html_with_extensions(markdown, options, extensions)
        self.tags, self.inside, self.tables = set(), [], 0
        # All text; the text that is no code; and for each section, its heading and what is seen without a click.
        self.text, self.prose, self.sections = "", "", []
        self.feed(self.html)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag, attributes):
        assert all(name in ("align", "lang") for name, _ in attributes), (tag, attributes)
        self.tags.add(tag)
        self.inside.append(tag)
        self.tables += tag == "table"
        if tag == "h2":
            self.sections.append(["", ""])

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag, self.getpos()

    def handle_comment(self, data):
        raise AssertionError(data)

    def handle_data(self, data):
        self.text += data
        if not {"code", "pre"} & set(self.inside):
            self.prose += data
        if self.sections and "details" not in self.inside:
            self.sections[-1]["h2" not in self.inside] += data


def check_comment(preview) -> Comment:
    comment = Comment(preview.markdown)
    assert comment.tags <= OURS, comment.tags - OURS
    # What GitHub makes links of after that: people, teams and issues.
    assert not re.search(r"@\w|#\d|\bGH-\d", comment.prose), comment.prose
    assert not re.search(r"^\s*<!--", preview.markdown, re.MULTILINE)
    assert comment.tables == len(re.findall(r"^\|(?:---\|)+$", preview.markdown, re.MULTILINE))
    assert len(comment.sections) == len(preview.stacks)
    for (title, text), stack, lost in zip(comment.sections, preview.stacks, preview.lost(), strict=True):
        assert stack.get("environment", "") in title
        assert lost <= named(text), lost - named(text)
        # Nothing of a verdict or of a problem is taken as markup. GitHub's parser leaves the marks that break mentions.
        shown = text.replace("\u200b", "")
        for said in [*stack.get("verdicts", []), *([stack["problem"]] if "problem" in stack else [])]:
            assert said["message"] in shown, (said, shown)
    return comment


def test_the_comment_shows_hostile_text_as_text(hostile):
    comment = check_comment(hostile)
    assert not re.search("[\u001b\u0007\u202e\u2066]", hostile.markdown)
    # It is there, and nothing of it was taken as markup.
    words = [word for one in HOSTILE for word in re.findall(r"\w+", one)]
    assert all(word in comment.text for word in words)
    assert "it is @\u200boctocat" in comment.text


def test_chromium_fetches_and_runs_nothing_of_the_comment(browser, hostile, tmp_path):
    page = tmp_path / "comment.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><link rel=icon href=data:,>{Comment(hostile.markdown).html}")
    opened = browser.open(page)
    assert (opened.said, opened.fetched) == ([], [])


def test_many_stacks_fit_and_lose_no_deletion(browser, hundred):
    assert sum(map(bool, hundred.lost())) == len(hundred.stacks) == 60
    assert hundred.document["unchanged"] == 40
    assert len(hundred.markdown) < 65_536
    check_comment(hundred)
    check_page(browser, hundred)


ENDLESS = "{% for i in range(end=100000) %}{% for j in range(end=100000) %}{% set x = i %}{% endfor %}{% endfor %}"
LARGE = 10_000_000


@pytest.fixture
def repository(tmp_path):
    """A repository whose base has one stack that changes, beside a file that is not in it."""
    repository = Repository(tmp_path)
    (tmp_path / "outside").write_text(f"#!/bin/sh\n# {SECRET}\n")
    repository.write("good.yaml", small_stack(0, pool={}))
    repository.commit()
    repository.git("checkout", "-b", "work")
    repository.write("good.yaml", small_stack(0, pool={"count": 2}))
    return repository


def link(repository, name, target):
    (repository.folder / name).symlink_to(target)


def check_refused(repository, file, *expected):
    """The file has no plan and the message says why; the stack beside it has its plan."""
    preview = repository.preview(file, "good.yaml")
    assert preview.ended.code == 1
    assert all(one in preview.problems for one in expected), preview.problems
    assert ["problem" in stack for stack in preview.stacks] == [True, False]
    # Somebody who reads the comment or the page is not flooded.
    assert len(preview.problems) < 1_000
    assert max(len(preview.markdown), len(preview.html)) < 60_000
    # In KiB, of the largest command so far.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1.2 * 1024 * 1024


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "/proc/self/environ", "/dev/zero", "/proc/self/fd/0", "../outside", ".git/HEAD", "/etc"]
)
def test_a_stack_file_that_is_a_link_shows_nothing(repository, target):
    link(repository, "bad.yaml", target)
    check_refused(repository, "bad.yaml", "leads out of the repository")


def test_a_stack_file_that_links_to_itself_is_refused(repository):
    link(repository, "bad.yaml", "bad.yaml")
    check_refused(repository, "bad.yaml", "cannot be read")


def test_a_stack_file_that_is_a_pipe_does_not_hang(repository):
    os.mkfifo(repository.folder / "bad.yaml")
    check_refused(repository, "bad.yaml", "`bad.yaml` is not a regular file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (stack_file("minimal") + "#" + "x" * LARGE, "larger than 1 MiB"),
        (stack_of("minimal", tags={"team": "x" * LARGE}), "larger than 1 MiB"),
        (stack_of("minimal", tags={"team": "<b>" * 300_000}), "`tags.team` has a value"),
        (stack_of("minimal", stack="x" * 1_000_000), "`stack` is"),
        (stack_file("minimal").encode() + b'tags: { team: "\xe9" }', "not UTF-8"),
        (stack_file("minimal").encode("utf-16"), "is UTF-16"),
        ("a0: &a0 x\n" + "".join(f"a{at + 1}: &a{at + 1} [{f'*a{at}, ' * 9}]\n" for at in range(30)), "aliases"),
        (stack_file("minimal") + "tags: " + "[" * 400_000, "recursion limit"),
    ],
    ids=["file", "value", "refused-value", "name", "latin-1", "utf-16", "aliases", "depth"],
)
def test_a_stack_without_measure_has_a_short_message(repository, content, expected):
    repository.write("bad.yaml", content)
    check_refused(repository, "bad.yaml", expected)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/proc/self/environ", "is outside of"),
        ("../outside", "is outside of"),
        ("link", "is outside of"),
        ("/dev/zero", "is outside of"),
        ("pipe", "is not a regular file"),
        ("large", "has more than 1048576 bytes"),
        ("endless", "more than 3 seconds"),
    ],
)
def test_a_template_of_somebody_else_has_no_plan(repository, template, expected):
    link(repository, "link", "/etc/passwd")
    os.mkfifo(repository.folder / "pipe")
    repository.write("large", "#!/bin/sh\n" + "x" * LARGE)
    repository.write("endless", "#!/bin/sh\n" + ENDLESS)
    repository.write("bad.yaml", stack_of("minimal", stack="bad", generator={"template": template}))
    check_refused(repository, "bad.yaml", expected)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/proc/self/environ", "is outside of"),
        ("../outside", "is outside of"),
        ("link", ""),
        ("large", "has more than 1048576 bytes"),
        ("endless", "more than 3 seconds"),
    ],
)
def test_a_template_of_the_base_that_cannot_be_used_is_said(repository, template, expected):
    link(repository, "link", "/etc/passwd")
    repository.write("large", "#!/bin/sh\n" + "x" * LARGE)
    repository.write("endless", "#!/bin/sh\n" + ENDLESS)
    repository.write("bad.yaml", stack_of("minimal", stack="bad", generator={"template": template}))
    repository.commit()
    repository.git("branch", "--force", "main")
    repository.write("bad.yaml", stack_of("minimal", stack="bad"))
    preview = repository.preview("bad.yaml")
    (stack,) = preview.stacks
    # Everything is new then, which needs the reason.
    assert expected in stack["base"]["unknown"]["message"], stack["base"]
    assert stack["base"]["unknown"]["message"] in Comment(preview.markdown).text.replace("\u200b", "")
