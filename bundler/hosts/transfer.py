"""Files on hosts: written beside, hashed there, given mode and owner, synced, and only then renamed into place."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from bundler.hosts.base import CORRUPT, STALE, Answer, Host, Script, Stream
from bundler.model.digest import Digest

_SLOWEST = 1_000_000  # bytes a second that a transfer is given time for

# $f: the file; $new: beside it, whole by now; $h: what it must hash to; $o: owner:group; $m: mode
_PLACE = f"""\
[ "$(sha256sum <"$new")" = "$h  -" ] || {{
    rm -f "$new"
    echo "$f: what arrived is not what was sent" >&2
    exit {CORRUPT}
}}
chown "$o" "$new" && chmod "$m" "$new" && sync "$new" && mv -fT "$new" "$f" && sync "${{f%/*}}/" || exit 1
"""


def write_file_script(
    path: str, data: bytes, *, old: Digest | None, mode: int, owner: str = "root", group: str = "root"
) -> Script:
    """Replace a small file whole. It answers STALE unless the file is what the plan saw, `old` (None: nothing), or is
    the new one already, which a rerun after a lost answer meets."""
    digest = Digest.of(data)
    text = _head(path, digest, mode, owner, group) + (
        f"""new=${{f%/*}}/.${{f##*/}}.bundle-new
now=
[ ! -e "$f" ] || now=$(sha256sum <"$f") || exit 1
case ${{now%% *}} in
{old.hex if old else "''"} | "$h") ;;
*) echo "$f is not what it was when the plan was made" >&2; exit {STALE} ;;
esac
mkdir -p "${{f%/*}}/" && rm -f "$new" && (umask 077 && cat >"$new") || exit 1
"""
        + _PLACE
    )
    return Script(text=text, stdin=data)


def part_script(path: str, digest: Digest) -> Script:
    """Asks how many bytes of a large file have arrived before."""
    return Script(text=f'{_names(path, digest)}[ ! -f "$new" ] || stat -c %s "$new"\n')


def append_script(
    stream: Stream, path: str, *, digest: Digest, offset: int, mode: int, owner: str, group: str, epoch: int
) -> Script:
    """Send what lies behind `offset`, which must be what has arrived, else STALE; then put the whole in its place.

    Cut off at any point, what arrived stays for `part_script` to find. CORRUPT: it was not what `digest` says, and is
    gone.
    """
    rest = _Rest(stream=stream, offset=offset)
    anew = "" if offset else 'rm -f "$new"\n'
    text = _head(path, digest, mode, owner, group) + (
        f"""{_names(path, digest)}{anew}mkdir -p "${{f%/*}}/" && (umask 077 && : >>"$new") || exit 1
[ "$(stat -c %s "$new")" = {offset} ] || {{ echo "$new has changed" >&2; exit {STALE}; }}
cat >>"$new" || exit 1
"""
        + _PLACE
    )
    return Script(text=text, stdin=rest, epoch=epoch, timeout=300 + rest.size / _SLOWEST)


def send(
    host: Host, stream: Stream, path: str, *, digest: Digest, mode: int, owner: str, epoch: int, group: str = "root"
) -> Answer:
    """Bring a large file to a host; it goes on where an earlier transfer was cut. Raises what `run` raises."""
    answer = host.run(part_script(path, digest))
    if answer.code != 0:
        return answer
    arrived = int(answer.stdout or b"0")

    def append(offset: int) -> Answer:
        script = append_script(
            stream, path, digest=digest, offset=offset, mode=mode, owner=owner, group=group, epoch=epoch
        )
        return host.run(script)

    answer = append(arrived if arrived <= stream.size else 0)
    if answer.code == CORRUPT and arrived:  # a power cut may have left zeros at the end of what had arrived
        return append(0)
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """What lies behind the first `offset` bytes of a stream."""

    stream: Stream
    offset: int

    @property
    def size(self) -> int:
        return self.stream.size - self.offset

    def chunks(self) -> Iterator[bytes]:
        skip = self.offset
        for chunk in self.stream.chunks():
            if skip < len(chunk):
                yield chunk[skip:] if skip else chunk
            skip = max(0, skip - len(chunk))


def _head(path: str, digest: Digest, mode: int, owner: str, group: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise ValueError(path)
    return f"f={shlex.quote(path)} h={digest.hex} o={shlex.quote(f'{owner}:{group}')} m={mode:04o}\n"


def _names(path: str, digest: Digest) -> str:
    return f"f={shlex.quote(path)}\nnew=${{f%/*}}/.${{f##*/}}.{digest.hex[:16]}.part\n"
