"""The chart local-volumes: disks of hosts as volumes."""

from typing import Any

import pytest

from tests.house_charts import NotRendered, render

DISK = {"host": "node3", "path": "/dev/disk/by-id/nvme-eui.0025385b2140b0f3", "size": "3500Gi"}
FOLDER = {"host": "node4", "path": "/srv/volumes/one", "size": "100Gi"}


def volumes(*given: dict[str, Any], **values: Any) -> list[dict[str, Any]]:
    return render("local-volumes", {"volumes": list(given), **values}).of("PersistentVolume")


def test_the_class_waits_for_the_pod() -> None:
    made = render("local-volumes").one("StorageClass", "local")
    assert made["provisioner"] == "kubernetes.io/no-provisioner"
    assert (made["volumeBindingMode"], made["reclaimPolicy"]) == ("WaitForFirstConsumer", "Retain")
    assert made["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "false"
    other = render("local-volumes", {"className": "nvme", "default": True, "volumes": [DISK]})
    assert other.one("StorageClass", "nvme")["metadata"]["annotations"] == {
        "storageclass.kubernetes.io/is-default-class": "true"
    }
    assert other.of("PersistentVolume")[0]["spec"]["storageClassName"] == "nvme"


def test_a_disk_is_bound_to_its_host_and_never_thrown_away() -> None:
    (disk,) = volumes(DISK)
    spec = disk["spec"]
    assert (spec["capacity"], spec["local"]) == ({"storage": "3500Gi"}, {"path": DISK["path"], "fsType": "ext4"})
    assert (spec["accessModes"], spec["volumeMode"]) == (["ReadWriteOnce"], "Filesystem")
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"
    assert disk["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    (term,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node3"]}]


@pytest.mark.parametrize(
    ("more", "values", "local", "mode"),
    [
        ({}, {"fsType": "xfs"}, {"path": DISK["path"], "fsType": "xfs"}, "Filesystem"),
        ({"fsType": "xfs"}, {}, {"path": DISK["path"], "fsType": "xfs"}, "Filesystem"),
        ({"mode": "Block"}, {}, {"path": DISK["path"]}, "Block"),
        (FOLDER, {}, {"path": "/srv/volumes/one"}, "Filesystem"),
    ],
    ids=["the site's file system", "its own", "a bare device", "a folder"],
)
def test_kinds_of_disks(more: dict[str, Any], values: dict[str, Any], local: dict[str, Any], mode: str) -> None:
    (spec,) = (each["spec"] for each in volumes(DISK | more, **values))
    assert (spec["local"], spec["volumeMode"]) == (local, mode)


def test_a_disk_keeps_its_name() -> None:
    names = [each["metadata"]["name"] for each in volumes(DISK, FOLDER)]
    assert [each["metadata"]["name"] for each in volumes(FOLDER, DISK | {"size": "1Gi"})] == names[::-1]
    same = volumes(DISK, DISK | {"host": "node4"}, DISK | {"path": f"{DISK['path']}-part1"})
    assert len({each["metadata"]["name"] for each in same}) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([DISK, DISK | {"size": "1Gi"}], "given twice"),
        ([{key: value for key, value in DISK.items() if key != "size"}], "needs size"),
        ([{"path": "/x", "size": "1Gi"}], "needs host"),
        ([{"host": "n", "size": "1Gi"}], "needs path"),
    ],
)
def test_what_could_not_work_is_refused(given: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(NotRendered, match=words):
        volumes(*given)
