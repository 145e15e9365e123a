"""What kubeadm and cephadm say that they need."""

import io
import zipfile
from pathlib import Path

import pytest

from bundler.closure.defaults import cephadm_images, kubeadm_images
from bundler.errors import NeedsUnknown, ToolMissing


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_kubeadm_is_asked_for_the_version(tmp_path: Path) -> None:
    script = '[ "$*" = "config images list --kubernetes-version v1.36.3" ] || exit 9\necho k8s.io/a:v1\necho k8s.io/b:2'
    kubeadm = program(tmp_path / "kubeadm", script)
    assert kubeadm_images(kubeadm, version="1.36.3") == ("k8s.io/a:v1", "k8s.io/b:2")
    assert kubeadm_images(kubeadm, version="v1.36.3") == ("k8s.io/a:v1", "k8s.io/b:2")


@pytest.mark.parametrize(
    ("script", "says"), [("echo this >&2; exit 1", "this"), ("true", ""), ("echo Not An Image", "Not")]
)
def test_kubeadm_that_does_not_say(tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(NeedsUnknown) as caught:
        kubeadm_images(program(tmp_path / "kubeadm", script), version="1.36.3")
    assert says in caught.value.output


def test_no_kubeadm(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing):
        kubeadm_images(tmp_path / "kubeadm", version="1.36.3")


SCRIPT = """\
#!/usr/bin/python3
DEFAULT_IMAGE = 'quay.io/ceph/ceph:v16'
DEFAULT_IMAGE_IS_MASTER = False
DEFAULT_IMAGE_RELEASE = 'pacific'
DEFAULT_HAPROXY_IMAGE = 'docker.io/library/haproxy:2.3'
DEFAULT_KEEPALIVED_IMAGE = 'docker.io/arcts/keepalived'
image = 'quay.io/no/no:1'
"""
ENUM = """\
class DefaultImages(Enum):
    PROMETHEUS = _create_image('quay.io/prometheus/prometheus:v2.51.0', 'prometheus')
    LOKI = ContainerImage('docker.io/grafana/loki:3.0.0', f'{_prefix}loki', 'Loki container image')
"""


def zipapp(**files: str) -> bytes:
    buffer = io.BytesIO(b"#!/usr/bin/python3\n")
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".py", text)
    return buffer.getvalue()


def test_cephadm_as_a_script() -> None:
    found = ("quay.io/ceph/ceph:v16", "docker.io/library/haproxy:2.3", "docker.io/arcts/keepalived")
    assert cephadm_images(SCRIPT.encode()) == found


def test_cephadm_as_a_zipapp() -> None:
    program = zipapp(main="print()", cephadmlib__constants=SCRIPT, ceph__cephadm__images=ENUM)
    assert cephadm_images(program) == (
        *("quay.io/ceph/ceph:v16", "docker.io/library/haproxy:2.3", "docker.io/arcts/keepalived"),
        *("quay.io/prometheus/prometheus:v2.51.0", "docker.io/grafana/loki:3.0.0"),
    )


@pytest.mark.parametrize("program", [b"", b"x = 1", b"a b c", b"\xff\x00", zipapp(a="y"), zipapp(images="IMAGE = (")])
def test_what_is_no_cephadm(program: bytes) -> None:
    with pytest.raises(NeedsUnknown):
        cephadm_images(program)
