"""What of a URL is shown, and what two parsers could read differently."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import UnsafeRedirect
from bundler.transport.urls import follow, origin_of, redact, split_userinfo


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h:5000/a/b?sig=1#f", "https://h:5000/a/b"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("http://a@b@h/", "http://h/"),
        ("http://[", "a malformed URL"),
    ],
)
def test_redact(url, shown):
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/a", "http://H:80/b", True),
        ("https://h", "https://h:443/", True),
        ("http://h", "https://h", False),
        ("http://h:80", "http://h:81", False),
        ("http://h", "http://h.example", False),
        ("http://u@h", "http://h", True),
    ],
)
def test_origins(one, other, same):
    assert (origin_of(one) == origin_of(other)) is same


def test_userinfo_is_unquoted():
    bare, basic = split_userinfo("https://us%40er:p%3Aw@h:1/a?b#c")
    assert basic is not None
    assert bare == "https://h:1/a?b"
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"us@er:p:w"
    assert split_userinfo("http://h/") == ("http://h/", None)


def test_https_never_becomes_http():
    assert follow("http://h/", "https://g/") == "https://g/"
    for location in ("http://h/", "http://g/", "HTTP://h/"):
        with pytest.raises(UnsafeRedirect, match="plain http"):
            follow("https://h/", location)


@given(st.text(alphabet="htps:/@\\?#.[]ab \t\n%0", max_size=30))
def test_a_location_is_a_bare_url_or_refused(location):
    try:
        target = follow("https://h/x/y", location)
    except UnsafeRedirect:
        return
    assert target.startswith("https://")
    assert "\\" not in target
    assert split_userinfo(target) == (target, None)
