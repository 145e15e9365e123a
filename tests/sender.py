"""The sending end of `bundle receive`: as a function, and as a process of its own that can be killed."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bundler.archive.reader import BundleFile
from bundler.archive.sending import Sending, front_of, parse_missing
from bundler.signing.keys import PublicKey, read_public_key
from bundler.signing.trust import Trust, judge
from bundler.verify.check import layout_of


def front(bundle: Path) -> bytes:
    with BundleFile(bundle) as file:
        return front_of(file.front())


@contextmanager
def sending(bundle: Path, keys: tuple[PublicKey, ...], blobs: Mapping[str, int]) -> Iterator[Sending]:
    with BundleFile(bundle) as file:
        signed = file.front()
        statement = judge(Trust(keys=keys, threshold=1), signed).statement
        yield Sending(file, signed, layout_of(file, statement, len(signed.statement)), blobs)


def main(bundle: str, key: str, answer: str, rate: str) -> None:
    """Write the stream for the answer in a file to standard output, so many bytes a second."""
    missing = parse_missing(Path(answer).read_bytes(), source=answer)
    with sending(Path(bundle), (read_public_key(Path(key)),), missing.blobs) as stream:
        for chunk in stream.chunks():
            sys.stdout.buffer.write(chunk)
            time.sleep(len(chunk) / float(rate))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
