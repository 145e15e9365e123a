"""Tokens, Basic and where secrets may go; credentials as docker and podman keep them."""

import base64
import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import AuthenticationFailed, BundleError, HttpFailure, InvalidDocument, ToolMissing
from bundler.transport import Request, Transport
from bundler.transport.registry_auth import RegistryAuth, parse_challenges
from bundler.transport.registry_credentials import Credential, Credentials
from tests.hostile_server import HostileServer, needs, ok, redirect, status

BASIC = "Basic " + base64.b64encode(b"me:hunter2").decode()
REPOSITORY = "team/app"


def keep(folder: Path, **config: object) -> Credentials:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return Credentials(files=(path,))


def auths(host: str, pair: bytes = b"me:hunter2") -> dict[str, dict[str, str]]:
    return {host: {"auth": base64.b64encode(pair).decode()}}


def ask(
    server: HostileServer,
    transport: Transport,
    credentials: Credentials | None = None,
    realms: Mapping[str, str] | None = None,
) -> bytes:
    auth = RegistryAuth(transport=transport, credentials=credentials or Credentials(), realms=realms)
    return pull(server, transport, auth)


def pull(server: HostileServer, transport: Transport, auth: RegistryAuth) -> bytes:
    request = Request(url=f"{server.url}/v2/", authorizer=auth.pull(server.url, REPOSITORY))
    return transport.get(request, limit=100).body


def user(credentials: Credentials, host: str, repository: str = "x") -> str | None:
    found = credentials.find(host, repository)
    return found.username if found is not None else None


def guarded(server: HostileServer, realm: str, token: str = "t0k", **extra: str) -> None:
    more = "".join(f',{name}="{value}"' for name, value in extra.items())
    server.on("/v2/", needs(f"Bearer {token}", ok(b"in"), f'Bearer realm="{realm}",service="s e"{more}'))


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_an_anonymous_token(server, transport, key):
    realm = server.on("/token", ok(json.dumps({key: "t0k", "expires_in": 300}).encode()))
    guarded(server, realm)
    assert ask(server, transport) == b"in"
    seen = server.seen_at("/token")[0]
    assert parse_qs(seen.query) == {"scope": ["repository:team/app:pull"], "service": ["s e"]}
    assert "authorization" not in seen.headers


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        ("repository:mirror/team/app:pull", "repository:mirror/team/app:pull"),
        ("repository:team/app:pull,push", "repository:team/app:pull"),
        ("registry:catalog:*", "repository:team/app:pull"),
    ],
)
def test_no_more_than_a_pull_is_asked_for(server, transport, asked, scope):
    guarded(server, server.on("/token", ok(b'{"token":"t0k"}')), scope=asked)
    ask(server, transport)
    assert parse_qs(server.seen_at("/token")[0].query)["scope"] == [scope]


def test_a_token_with_credentials(server, transport, tmp_path):
    guarded(server, server.on("/token", needs(BASIC, ok(b'{"token":"t0k"}'), "Basic")))
    assert ask(server, transport, keep(tmp_path, auths=auths(server.address))) == b"in"
    assert parse_qs(server.seen_at("/token")[0].query)["account"] == ["me"]


def test_an_identity_token_is_posted(server, transport, tmp_path):
    guarded(server, server.on("/token", ok(b'{"access_token":"t0k"}')))
    entry = {server.address: {"identitytoken": "refresh"}}
    assert ask(server, transport, keep(tmp_path, auths=entry)) == b"in"
    seen = server.seen_at("/token")[0]
    assert (seen.method, seen.query) == ("POST", "")
    form = parse_qs(seen.body.decode())
    assert (form["refresh_token"], form["grant_type"]) == (["refresh"], ["refresh_token"])


def test_a_token_is_kept_until_it_ends(server, transport):
    guarded(server, server.on("/token", ok(b'{"token":"t0k","expires_in":300}')))
    auth = RegistryAuth(transport=transport, credentials=Credentials())
    now = [1000.0]
    auth._monotonic = lambda: now[0]
    for _ in range(3):
        pull(server, transport, auth)
    assert len(server.seen_at("/token")) == 1
    assert len(server.seen_at("/v2/")) == 4
    now[0] += 295
    pull(server, transport, auth)
    assert len(server.seen_at("/token")) == 2


def test_threads_share_a_token(server, transport):
    guarded(server, server.on("/token", ok(b'{"token":"t0k"}')))
    auth = RegistryAuth(transport=transport, credentials=Credentials())
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: pull(server, transport, auth), range(16))) == {b"in"}
    assert len(server.seen_at("/token")) == 1


def test_a_token_that_is_refused_is_renewed(server, transport):
    realm = server.on("/token", ok(b'{"token":"old"}'), ok(b'{"token":"new"}'))
    guarded(server, realm, "old")
    auth = RegistryAuth(transport=transport, credentials=Credentials())
    pull(server, transport, auth)
    guarded(server, realm, "new")
    assert pull(server, transport, auth) == b"in"


def test_a_401_loop_ends(server, transport):
    guarded(server, server.on("/token", ok(b'{"token":"wrong"}')))
    with pytest.raises(AuthenticationFailed):
        ask(server, transport)
    assert (len(server.seen_at("/v2/")), len(server.seen_at("/token"))) == (2, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"token":""}',
        b'{"token":5}',
        b'{"token":"a\\nX: y"}',
        b'{"token":"t","expires_in":"x"}',
        b"{" * 999,
    ],
)
def test_a_token_answer_without_a_token(server, transport, answer):
    guarded(server, server.on("/token", ok(answer)))
    with pytest.raises(AuthenticationFailed):
        ask(server, transport)


def test_a_token_service_that_is_down_is_not_asked_for_ever(server, transport):
    guarded(server, server.on("/token", status(503)))
    with pytest.raises(HttpFailure):
        ask(server, transport)
    assert (len(server.seen_at("/token")), len(server.seen_at("/v2/"))) == (6, 1)


def test_an_endless_token_answer(server, transport):
    guarded(server, server.on("/token", ok(b" " * (1 << 20))))
    with pytest.raises(BundleError):
        ask(server, transport)


@pytest.mark.parametrize(
    "challenge", ["", "Negotiate", "Digest realm=x", 'Bearer realm="ftp://x/"', "Bearer", "Bearer realm=x"]
)
def test_a_challenge_that_we_do_not_answer(server, transport, challenge):
    server.on("/v2/", status(401, WWW_Authenticate=challenge))
    with pytest.raises(AuthenticationFailed):
        ask(server, transport)


# --- where secrets go -----------------------------------------------------------------------------------------------


def test_a_foreign_realm_gets_no_credentials(server, other, transport, tmp_path):
    guarded(server, other.on("/token", ok(b'{"token":"t0k"}')))
    assert ask(server, transport, keep(tmp_path, auths=auths(server.address))) == b"in"
    assert "authorization" not in other.seen[0].headers
    assert "me" not in other.seen[0].query


def test_a_foreign_realm_gets_no_identity_token(server, other, transport, tmp_path):
    guarded(server, other.on("/token", ok(b'{"token":"t0k"}')))
    ask(server, transport, keep(tmp_path, auths={server.address: {"identitytoken": "refresh"}}))
    assert (other.seen[0].method, other.seen[0].body) == ("GET", b"")


def test_a_foreign_realm_that_wants_credentials_is_named(server, other, transport, tmp_path):
    guarded(server, other.on("/token", status(401)))
    with pytest.raises(AuthenticationFailed, match=r"127\.0\.0\.2"):
        ask(server, transport, keep(tmp_path, auths=auths(server.address)))


def test_a_configured_realm_gets_credentials(server, other, transport, tmp_path):
    guarded(server, other.on("/token", needs(BASIC, ok(b'{"token":"t0k"}'), "Basic")))
    credentials = keep(tmp_path, auths=auths(server.address))
    assert ask(server, transport, credentials, realms={server.address: other.url}) == b"in"


def test_a_realm_that_redirects_takes_no_credentials_along(server, other, transport, tmp_path):
    guarded(server, server.on("/token", redirect(other.on("/t", ok(b'{"token":"t0k"}')))))
    ask(server, transport, keep(tmp_path, auths=auths(server.address)))
    assert "authorization" in server.seen_at("/token")[0].headers
    assert "authorization" not in other.seen[0].headers


def test_https_registries_have_https_realms(transport):
    auth = RegistryAuth(transport=transport, credentials=Credentials())
    with pytest.raises(AuthenticationFailed, match="plain http"):
        auth.pull("https://registry.example", "a").renew('Bearer realm="http://registry.example/t?s=1"', refused=None)


def test_basic(server, transport, tmp_path):
    server.on("/v2/", needs(BASIC, ok(b"in"), 'Basic realm="x"'))
    assert ask(server, transport, keep(tmp_path, auths=auths(server.address))) == b"in"


def test_basic_without_credentials(server, transport):
    server.on("/v2/", needs(BASIC, ok(b"in"), "Basic"))
    with pytest.raises(AuthenticationFailed, match="no credentials"):
        ask(server, transport)


def test_basic_that_is_refused(server, transport, tmp_path):
    server.on("/v2/", status(401, WWW_Authenticate="Basic"))
    auth = RegistryAuth(transport=transport, credentials=keep(tmp_path, auths=auths(server.address)))
    for requests in (2, 3):  # what is known to be refused is shown once, not answered with itself
        with pytest.raises(AuthenticationFailed) as caught:
            pull(server, transport, auth)
        assert len(server.seen) == requests
        assert "hunter2" not in repr(caught.value) + str(caught.value)


def test_no_secret_is_shown():
    credential = Credential(username="me", password="hunter2", identity_token="refresh")
    assert "hunter2" not in repr(credential)
    assert "refresh" not in repr(credential)


# --- challenges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            'Bearer realm="https://a/t",service=b,scope="x y"',
            {"bearer": {"realm": "https://a/t", "service": "b", "scope": "x y"}},
        ),
        ('BASIC realm="a \\"b\\", c"', {"basic": {"realm": 'a "b", c'}}),
        (
            'Basic realm="a", Bearer realm="b" , service = "c"',
            {"basic": {"realm": "a"}, "bearer": {"realm": "b", "service": "c"}},
        ),
        ("Negotiate, Basic", {"negotiate": {}, "basic": {}}),
        ("Bearer realm=a,realm=b, Bearer realm=c", {"bearer": {"realm": "a"}}),
        ('Bearer realm="unended', {"bearer": {}}),
        ("", {}),
        ("=,=", {}),
    ],
)
def test_challenges(text, found):
    assert parse_challenges(text) == found


@given(st.text(alphabet='Bearer realm="a\\,= \t', max_size=60) | st.text(max_size=60))
def test_every_challenge_is_read(text):
    for parameters in parse_challenges(text).values():
        assert all(isinstance(value, str) for value in parameters.values())


# --- files and helpers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["reg.example:5000", "https://reg.example:5000", "http://reg.example:5000/v2/", "https://reg.example:5000/v1/"],
)
def test_keys_of_auths(tmp_path, key):
    assert keep(tmp_path, auths=auths(key)).find("reg.example:5000", "a/b") == Credential(
        username="me", password="hunter2"
    )


@pytest.mark.parametrize("key", ["reg.example", "reg.example:5001", "g.example:5000", "reg.example:5000/a/bc", "*"])
def test_keys_of_others(tmp_path, key):
    assert keep(tmp_path, auths=auths(key)).find("reg.example:5000", "a/b") is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "docker.io/library"]
)
def test_docker_hub_has_many_names(tmp_path, key):
    assert keep(tmp_path, auths=auths(key)).find("registry-1.docker.io", "library/debian")


def test_the_most_special_key_counts(tmp_path):
    found = keep(tmp_path, auths={**auths("h", b"a:1"), **auths("h/x/y", b"b:2")})
    assert (user(found, "h", "x/y/z"), user(found, "h", "x")) == ("b", "a")


def test_a_password_may_hold_colons(tmp_path):
    assert keep(tmp_path, auths=auths("h", b"a:b:c")).find("h", "x") == Credential(username="a", password="b:c")


def test_the_files_of_an_environment():
    found = Credentials.of({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/u", "REGISTRY_AUTH_FILE": "/r.json"})
    assert [str(path) for path in found.files] == [
        "/r.json",
        "/run/u/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
    ]
    assert str(Credentials.of({"HOME": "/h", "DOCKER_CONFIG": "/d"}).files[-1]) == "/d/config.json"


def test_the_first_file_that_has_it_counts(tmp_path):
    empty, first, second = (tmp_path / name for name in ("empty", "first", "second"))
    empty.write_text("{}")
    first.write_text(json.dumps({"auths": auths("h", b"a:1")}))
    second.write_text(json.dumps({"auths": auths("h", b"b:2")}))
    assert user(Credentials(files=(tmp_path / "none", empty, first, second)), "h") == "a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"auths": 5}',
        '{"auths": {"h": {"auth": "%%"}}}',
        '{"auths": {"h": {"auth": 5}}}',
        '{"auths": {"h": {"auth": "/w=="}}}',
    ],
)
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InvalidDocument, match=r"config\.json"):
        Credentials(files=(path,)).find("h", "x")


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """docker-credential-NAME on the PATH, answering by a shell script."""

    def make(name: str, script: str) -> None:
        path = tmp_path / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return make


ANSWER = """read -r server
[ "$1" = get ] && printf '{"ServerURL":"%s","Username":"%s","Secret":"s3"}' "$server" "$server" """


def test_a_helper_for_one_registry(tmp_path, helper):
    helper("one-1", ANSWER)
    credentials = keep(tmp_path, credHelpers={"reg.example": "one-1"}, auths=auths("other"))
    assert credentials.find("reg.example", "x") == Credential(username="reg.example", password="s3")
    assert user(credentials, "other") == "me"
    assert credentials.find("third", "x") is None


def test_a_store_for_all_registries(tmp_path, helper):
    helper("all", ANSWER)
    credentials = keep(tmp_path, credsStore="all", auths={"h": {}})
    assert user(credentials, "h") == "h"
    assert user(credentials, "registry-1.docker.io") == "https://index.docker.io/v1/"


def test_a_helper_with_an_identity_token(tmp_path, helper):
    helper("all", """printf '{"Username":"<token>","Secret":"refresh"}'""")
    assert keep(tmp_path, credsStore="all").find("h", "x") == Credential(identity_token="refresh")


def test_a_helper_that_has_nothing(tmp_path, helper):
    helper("all", "echo 'credentials not found in native keychain'; exit 1")
    assert keep(tmp_path, credsStore="all").find("h", "x") is None


def test_a_helper_that_fails(tmp_path, helper):
    helper("all", "echo s3cret; exit 3")
    with pytest.raises(AuthenticationFailed, match="code 3") as caught:
        keep(tmp_path, credsStore="all").find("h", "x")
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize("answer", ["", "[]", '{"Username":"a"}', '{"Username":1,"Secret":"s"}'])
def test_a_helper_that_babbles(tmp_path, helper, answer):
    helper("all", f"printf '%s' '{answer}'")
    with pytest.raises(InvalidDocument):
        keep(tmp_path, credsStore="all").find("h", "x")


def test_a_helper_that_is_not_there(tmp_path):
    with pytest.raises(ToolMissing):
        keep(tmp_path, credsStore="no-such-helper").find("h", "x")


@pytest.mark.parametrize("name", ["../../bin/sh", "A", "a b", "a/b", 5, ["a"]])
def test_a_helper_name_is_no_path(tmp_path, name):
    with pytest.raises(InvalidDocument):
        keep(tmp_path, credsStore=name).find("h", "x")
