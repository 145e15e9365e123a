"""Images as builders and signers make them, pushed to a real registry: indexes of several platforms with what BuildKit
and Windows add to them, signatures and SBOMs in both of the ways that are in use."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import requests

from bundler.model.digest import Digest
from tests.content import CONFIG, INDEX, LAYER, MANIFEST, compact, describe, make_tar

Json = dict[str, Any]
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(kw_only=True)
class Repository:
    """A repository of a registry on loopback; `kept` are all bytes that were pushed, by digest."""

    url: str
    name: str
    kept: dict[str, bytes] = field(default_factory=dict)

    def blob(self, data: bytes, media_type: str) -> Json:
        descriptor = describe(data, media_type)
        self.kept[descriptor["digest"]] = data
        place = self._call("POST", f"/v2/{self.name}/blobs/uploads/").headers["Location"]
        self._call("PUT", place, params={"digest": descriptor["digest"]}, data=data)
        return descriptor

    def manifest(self, value: Json, tag: str = "") -> Json:
        data, media_type = compact(value), value["mediaType"]
        descriptor = describe(data, media_type)
        self.kept[descriptor["digest"]] = data
        target = f"/v2/{self.name}/manifests/{tag or descriptor['digest']}"
        self._call("PUT", target, data=data, headers={"Content-Type": media_type})
        return descriptor

    def image(self, platform: str, layers: Sequence[bytes] = (), tag: str = "") -> Json:
        """A manifest for `os/architecture`, with its platform as indexes say it."""
        system, _, architecture = platform.partition("/")
        layers = layers or [make_tar({"./platform": platform.encode()})]
        rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]}
        config = compact({"os": system, "architecture": architecture, "config": {}, "rootfs": rootfs})
        packed = [self.blob(gzip.compress(layer, mtime=0), f"{LAYER}+gzip") for layer in layers]
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.blob(config, CONFIG), "layers": packed}
        return {**self.manifest(value, tag), "platform": {"os": system, "architecture": architecture}}

    def attestation(self, subject: Json) -> Json:
        """What BuildKit puts beside an image in its index."""
        statement = self.blob(b'{"_type":"https://in-toto.io/Statement/v0.1"}', "application/vnd.in-toto+json")
        config = compact({"os": "unknown", "architecture": "unknown", "config": {}, "rootfs": {"diff_ids": []}})
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(config, CONFIG),
            "layers": [statement],
        }
        return {
            **self.manifest(value),
            "annotations": {
                "vnd.docker.reference.digest": subject["digest"],
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        }

    def index(self, children: Sequence[Json], tag: str) -> Json:
        return self.manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children)}, tag)

    def referrer(self, subject: Json, kind: str, data: bytes, **annotations: str) -> Json:
        """An artifact about `subject`; on a registry without the referrers API it has to be listed by `fallback`."""
        plain = {key: subject[key] for key in ("mediaType", "digest", "size")}
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self.blob(b"{}", EMPTY),
            "layers": [self.blob(data, kind)],
            "subject": plain,
            **({"annotations": annotations} if annotations else {}),
        }
        listed = {**self.manifest(value), "artifactType": kind}
        return {**listed, "annotations": annotations} if annotations else listed

    def fallback(self, subject: Json, referrers: Sequence[Json]) -> Json:
        """The index that a client keeps under the subject's tag (distribution-spec, referrers tag schema)."""
        return self.index(referrers, subject["digest"].replace(":", "-"))

    def cosign(self, subject: Json, ending: str = "sig") -> Json:
        """A signature as `cosign sign` stores it: found by its tag alone."""
        payload = compact({"critical": {"image": {"docker-manifest-digest": subject["digest"]}}})
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(compact({"architecture": "", "os": "", "rootfs": {"type": "layers"}}), CONFIG),
            "layers": [
                {**self.blob(payload, COSIGN_LAYER), "annotations": {"dev.cosignproject.cosign/signature": "x"}}
            ],
        }
        return self.manifest(value, f"{subject['digest'].replace(':', '-')}.{ending}")

    def delete(self, descriptor: Json) -> None:
        self._call("DELETE", f"/v2/{self.name}/manifests/{descriptor['digest']}")

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            reply = session.request(method, urljoin(self.url, path), timeout=60, **options)
        assert reply.ok, (method, path, reply.status_code, reply.text[:300])
        return reply
