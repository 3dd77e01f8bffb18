"""GitHub's and GitLab's clients for Python talk to the look-alikes, which the tests of comments rely on."""

import json
import subprocess

import github
import gitlab
import pytest
from stage import BINARIES


@pytest.fixture
def forges():
    """The URLs of running look-alikes."""
    command = [BINARIES / "trunnion-forges"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def client_of_github(forges, token: str) -> github.Github:
    # Each refusal is an error at once, and no request waits for the next second.
    quick = {"retry": None, "seconds_between_requests": None, "seconds_between_writes": None}
    return github.Github(base_url=forges["github"], auth=github.Auth.Token(token), lazy=True, **quick)


def test_pygithub_creates_lists_changes_and_deletes_comments(forges):
    client = client_of_github(forges, "person")
    assert (client.get_user().login, client.get_user().id) == ("octocat", 11)
    issue = client.get_repo("acme/load").get_issue(7)
    made = [issue.create_comment(f"comment {at}") for at in range(65)]
    assert [comment.body for comment in issue.get_comments()] == [f"comment {at}" for at in range(65)]
    assert [comment.id for comment in issue.get_comments()] == sorted(comment.id for comment in made)
    first = made[0]
    assert first.html_url == f"{forges['github']}/acme/load/pull/7#issuecomment-{first.id}"
    assert (first.user.login, first.user.type) == ("octocat", "User")
    first.edit("changed")
    assert issue.get_comment(first.id).body == "changed"
    assert first.updated_at > first.created_at
    first.delete()
    with pytest.raises(github.UnknownObjectException) as gone:
        first.edit("again")
    assert gone.value.status == 404
    assert issue.get_comments().totalCount == 64


def test_pygithub_understands_each_refusal(forges):
    client = client_of_github(forges, "person")
    issue = client.get_repo("acme/load").get_issue(7)
    issue.create_comment("🌈" * 65536)
    for body, message in (("", "blank"), ("x" * 65537, "maximum is 65536 characters")):
        with pytest.raises(github.GithubException) as refused:
            issue.create_comment(body)
        assert refused.value.status == 422
        assert message in refused.value.data["errors"][0]["message"]
    with pytest.raises(github.BadCredentialsException):
        client_of_github(forges, "wrong").get_user().login  # noqa: B018
    with pytest.raises(github.GithubException) as refused:
        client_of_github(forges, "app").get_user().login  # noqa: B018
    assert (refused.value.status, refused.value.data["message"]) == (403, "Resource not accessible by integration")
    with pytest.raises(github.UnknownObjectException):
        client.get_repo("acme/none").get_issue(7).title  # noqa: B018


def test_pygithub_asks_graphql_who_an_app_is(forges):
    _, answer = client_of_github(forges, "app").requester.graphql_query("query { viewer { login } }", {})
    assert answer["data"]["viewer"]["login"] == "github-actions[bot]"
    issue = client_of_github(forges, "app").get_repo("acme/load").get_issue(7)
    author = issue.create_comment("of an app").user
    assert (author.login, author.type) == ("github-actions[bot]", "Bot")


def test_python_gitlab_creates_lists_changes_and_deletes_notes(forges):
    client = gitlab.Gitlab(forges["gitlab"], private_token="bot")
    client.auth()
    assert (client.user.username, client.user.id) == ("project_42_bot_1", 5)
    request = client.projects.get(42, lazy=True).mergerequests.get(7, lazy=True)
    made = [request.notes.create({"body": f"note {at}\n/close\n"}) for at in range(45)]
    listed = request.notes.list(iterator=True, sort="asc", order_by="created_at")
    assert [note.body for note in listed] == [f"note {at}" for at in range(45)]
    first = request.notes.get(made[0].id)
    first.body = "changed"
    first.save()
    assert request.notes.get(first.id).body == "changed"
    with pytest.raises(gitlab.GitlabCreateError) as refused:
        request.notes.create({"body": "x" * 1_000_001})
    assert refused.value.response_code == 400
    other = gitlab.Gitlab(forges["gitlab"], oauth_token="other")
    of_other = other.projects.get(42, lazy=True).mergerequests.get(7, lazy=True).notes.get(first.id)
    of_other.body = "taken"
    with pytest.raises(gitlab.GitlabUpdateError) as refused:
        of_other.save()
    assert refused.value.response_code == 403
    first.delete()
    with pytest.raises(gitlab.GitlabGetError) as gone:
        request.notes.get(first.id)
    assert gone.value.response_code == 404
    with pytest.raises(gitlab.GitlabAuthenticationError):
        gitlab.Gitlab(forges["gitlab"], private_token="wrong").auth()
