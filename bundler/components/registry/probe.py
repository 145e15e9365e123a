"""Runs on a host: asks its own HTTPS server. PORT [PATH…]; prints {"certificate": PEM, "answers": {PATH: {"status":
200, "sha256": HEX, "ms": 3.1}}}, or {"failure": WHY} when nobody answers."""

import hashlib
import http.client
import json
import ssl
import sys
import time
from typing import Any, Dict  # noqa: UP035

ADDRESS = "127.0.0.1"
TIMEOUT = 5
LIMIT = 8 << 20  # bytes of a body
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)


def fetch(connection: http.client.HTTPSConnection, path: str) -> Dict[str, Any]:  # noqa: UP006
    started = time.monotonic()
    connection.request("GET", path, headers={"Accept": f"{MANIFESTS}, */*"})
    reply = connection.getresponse()
    body = reply.read(LIMIT)
    seconds = time.monotonic() - started
    if not reply.isclosed():
        raise OSError(f"{path} has more than {LIMIT} bytes")
    return {"status": reply.status, "sha256": hashlib.sha256(body).hexdigest(), "ms": round(seconds * 1000, 1)}


def main() -> None:
    port, *paths = sys.argv[1:]
    # Whose certificate it is, is judged by who asks: here an expired one must not hide everything else.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(ADDRESS, int(port), timeout=TIMEOUT, context=context)
    said: Dict[str, Any]  # noqa: UP006
    try:
        connection.connect()
        said = {"certificate": ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(True) or b""), "answers": {}}
        for path in paths:
            said["answers"][path] = fetch(connection, path)
    except (OSError, http.client.HTTPException) as error:
        said = {"failure": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
