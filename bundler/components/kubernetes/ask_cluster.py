"""Asks an API server, on a host that has Python and nothing else yet: what to ask comes as JSON on the standard input,
with what proves who asks; the answers go out as JSON. It is sent as text, and writes nothing down.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
import urllib.parse
from typing import Any

SECONDS = 15
LIMIT = 4 << 20  # bytes of one answer


def context_of(given: dict[str, Any]) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=given["ca"] or None)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT  # what Go, and so kubectl, takes
    if given["insecure"]:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if given["certificate"]:
        # The module takes a file alone: one in memory, that goes with us.
        with os.fdopen(os.memfd_create("client"), "wb") as file:
            file.write((given["certificate"] + "\n" + given["key"]).encode())
            file.flush()
            made.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return made


class Connection(http.client.HTTPConnection):
    def __init__(self, given: dict[str, Any]) -> None:
        self.url = urllib.parse.urlsplit(given["server"])
        super().__init__(self.url.hostname or "", self.url.port or 443, timeout=SECONDS)
        self.context, self.server_name = context_of(given), given["name"] or self.url.hostname or ""
        self.headers = {"Authorization": "Bearer " + given["token"]} if given["token"] else {}
        self.shown = ""

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), timeout=SECONDS)
        self.sock = tls = self.context.wrap_socket(plain, server_hostname=self.server_name)
        der = tls.getpeercert(binary_form=True)
        self.shown = ssl.DER_cert_to_PEM_cert(der) if der else ""

    def ask(self, path: str, accept: str, body: Any) -> dict[str, Any]:
        headers = {**self.headers, "Accept": accept or "application/json", "Content-Type": "application/json"}
        method, data = ("POST", json.dumps(body)) if body else ("GET", None)
        self.request(method, self.url.path.rstrip("/") + path, body=data, headers=headers)
        answer = self.getresponse()
        text = answer.read(LIMIT + 1)
        if len(text) > LIMIT:
            self.close()
        return {"code": answer.status, "text": text[:LIMIT].decode("utf-8", "replace")}


def main() -> None:
    given = json.loads(base64.b64decode(sys.stdin.read()))
    answers: dict[str, Any] = {}
    error, shown = "", ""
    try:
        connection = Connection(given)
        for each in given["asks"]:
            answers[each["name"]] = connection.ask(each["path"], each["accept"], each["body"])
            shown = connection.shown
    except (OSError, http.client.HTTPException, ValueError) as raised:
        error = str(raised) or type(raised).__name__
    sys.stdout.write(json.dumps({"error": error, "certificate": shown, "answers": answers}))


if __name__ == "__main__":
    main()
