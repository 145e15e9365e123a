"""README.txt: how a site takes its first step with nothing but tar, openssl and python3.

The copy inside a bundle is for convenience; the recipe that counts is the one printed beside the trusted key, because
whoever can change a bundle can change its README.
"""

_HEAD = """\
This file is a bundle: a signed, uncompressed tar that is also an OCI image layout.

Do not trust this copy of the recipe: follow the one in the printed documentation (docs/trust.md), which is the
same. You need tar (GNU), openssl 3 and python3 (3.11 or newer), the trusted public key NAME.pub, which came to you
on another way than this file, and nothing else. Run as one block; the first command that fails stops it.
"""
_SIGNED = """
    set -e
    BUNDLE=/media/disk/site.bundle KEY=/media/card/NAME.pub
    ID=ed25519-$(openssl pkey -pubin -in "$KEY" -outform DER | tail -c 32 | openssl dgst -sha256 -r | cut -c1-64)
    FOLDER=$(mktemp -d)
    cd "$FOLDER"
    tar --occurrence=1 -xf "$BUNDLE" bundle.json "bundle.json.$ID.sig" bootstrap.tar "bootstrap.tar.$ID.sig"
    for FILE in bundle.json bootstrap.tar; do
        test -f "$FILE" -a ! -L "$FILE"
        openssl pkeyutl -verify -pubin -inkey "$KEY" -rawin -in "$FILE" -sigfile "$FILE.$ID.sig"
    done
    HASH=$(openssl dgst -sha256 -r bootstrap.tar | cut -c1-64)
    grep -q "{\\"digest\\":\\"sha256:$HASH\\",\\"name\\":\\"bootstrap.tar\\"," bundle.json
    tar -xf bootstrap.tar
    python3 -I bootstrap install "$BUNDLE" --trust "$KEY" --root /srv/site
"""
_BESIDE = """
    set -e
    BUNDLE=/media/disk/site.bundle KEY=/media/card/NAME.pub
    ID=ed25519-$(openssl pkey -pubin -in "$KEY" -outform DER | tail -c 32 | openssl dgst -sha256 -r | cut -c1-64)
    FOLDER=$(mktemp -d)
    cd "$FOLDER"
    tar --occurrence=1 -xf "$BUNDLE" bundle.json bootstrap.tar
    test -f bundle.json -a ! -L bundle.json
    test -f bootstrap.tar -a ! -L bootstrap.tar
    openssl pkeyutl -verify -pubin -inkey "$KEY" -rawin -in bundle.json -sigfile "$BUNDLE.$ID.sig"
    HASH=$(openssl dgst -sha256 -r bootstrap.tar | cut -c1-64)
    grep -q "{\\"digest\\":\\"sha256:$HASH\\",\\"name\\":\\"bootstrap.tar\\"," bundle.json
    tar -xf bootstrap.tar
    python3 -I bootstrap install "$BUNDLE" --trust "$KEY" --root /srv/site
"""
_TAIL = """
With several trusted keys, run all lines but the last for each key. Then run the last one once, with a --trust for each
key and --threshold for how many of them must have signed: the first installation pins both.
`python3 -I bootstrap --help` shows what else there is: verify, inspect, extract, serve.
"""


def recipe(*, signed: bool) -> bytes:
    """The recipe for a bundle with signatures inside it, or with signatures in files beside it."""
    return (_HEAD + (_SIGNED if signed else _BESIDE) + _TAIL).encode("ascii")
