"""X.509 certificates of a site, made and read; strict enough (RFC 5280) for Go and for Python's VERIFY_X509_STRICT."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bundler.errors import Malformed
from bundler.model.secret import Secret
from bundler.model.site import Address

T = TypeVar("T", bound=x509.ExtensionType)
_PEM_LIMIT = 1 << 20  # characters
_BACKDATED = timedelta(days=1)  # hosts whose clocks are behind take a new one at once
_NAME_LIMIT = 64  # characters of a common name (RFC 5280, ub-common-name)
_KEY_MARK = "-----BEGIN PRIVATE KEY-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What status and health want to know of a certificate; `issuer_key_id` and `key_id` are hex, or empty."""

    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...]
    addresses: tuple[Address, ...]
    key_id: str
    issuer_key_id: str
    fingerprint: str  # SHA-256 of the DER, as `openssl x509 -fingerprint -sha256` shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate with its private key, both PEM."""

    certificate: str
    key: Secret

    @classmethod
    def parse(cls, secret: Secret) -> "Pair | None":
        """What `text` made; None where it is no certificate with its own key."""
        text, mark, rest = secret.reveal().partition(_KEY_MARK)
        pair = cls(certificate=text, key=Secret(mark + rest))
        certificate, key = _certificate(text), _key(pair)
        fits = certificate is not None and key is not None and certificate.public_key() == key.public_key()
        return pair if fits and certificate_facts(text) else None

    @property
    def text(self) -> Secret:
        return Secret.of(self.certificate, self.key)


def certificate_facts(pem: str) -> CertificateFacts | None:
    """The facts of the first certificate in a PEM text, or None where there is none."""
    try:
        return facts_of(pem)
    except ValueError:
        return None


def facts_of(pem: str) -> CertificateFacts:
    """`certificate_facts` of what is known to be one; else a ValueError."""
    certificate = _certificate(pem)
    if certificate is None:
        raise ValueError("no certificate")
    found = certificate.extensions
    names = _extension(found, x509.SubjectAlternativeName)
    key, issuer = _extension(found, x509.SubjectKeyIdentifier), _extension(found, x509.AuthorityKeyIdentifier)
    return CertificateFacts(
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        addresses=_addresses(names) if names else (),
        key_id=key.digest.hex() if key else "",
        issuer_key_id=(issuer.key_identifier or b"").hex() if issuer else "",
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


def is_issued_by(pem: str, root: str) -> bool:
    """Whether the root's key signed the certificate."""
    certificate, issuer = _certificate(pem), _certificate(root)
    if certificate is None or issuer is None:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def new_root(name: str, now: datetime, life: timedelta) -> Pair:
    """A root of its own for the site `name`: ECDSA P-256, signs servers only, nothing below them."""
    key = ec.generate_private_key(ec.SECP256R1())
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The number makes each root's name its own: two of one name, in a bundle, confuse verifiers and people.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"bundle site {name}"[:_NAME_LIMIT]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, identity.digest.hex()[:16]),
        ]
    )
    builder = _dated(key.public_key(), now, now + life).subject_name(subject).issuer_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(root=True), critical=True).add_extension(identity, critical=False)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def new_leaf(
    root: Pair, name: str, dns_names: Sequence[str], addresses: Sequence[Address], *, now: datetime, life: timedelta
) -> Pair:
    """A server's certificate by the root, ECDSA P-256, which does not outlive it. Raises Malformed for a bad name."""
    issuer, issuer_key = _certificate(root.certificate), _key(root)
    if issuer is None or issuer_key is None:
        raise ValueError("the root is no certificate with its key")
    if not dns_names and not addresses:
        raise Malformed(found=f"no name and no address for the certificate {name!r}", expected="one at least")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _dated(key.public_key(), now, min(now + life, issuer.not_valid_after_utc))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_NAME_LIMIT])])
    builder = builder.subject_name(subject).issuer_name(issuer.subject)
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(root=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (_alternatives(dns_names, addresses), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def new_client(root: Pair, user: str, groups: Sequence[str], *, now: datetime, life: timedelta) -> Pair:
    """A client's certificate by the root: Kubernetes reads the user from its common name, groups from organizations."""
    issuer, issuer_key = _certificate(root.certificate), _key(root)
    if issuer is None or issuer_key is None:
        raise ValueError("the root is no certificate with its key")
    key = ec.generate_private_key(ec.SECP256R1())
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    builder = _dated(key.public_key(), now, min(now + life, issuer.not_valid_after_utc))
    builder = builder.subject_name(subject).issuer_name(issuer.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(root=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def new_private_key() -> str:
    """An ECDSA P-256 key, PEM."""
    return _private(ec.generate_private_key(ec.SECP256R1()))


def public_half(private: Secret) -> str:
    """The public key of a private one, both PEM. Raises ValueError."""
    key = serialization.load_pem_private_key(private.reveal().encode(), password=None)
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form).decode()


def _dated(key: ec.EllipticCurvePublicKey, now: datetime, not_after: datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _BACKDATED).not_valid_after(not_after)


def _usage(*, root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not root,
        key_cert_sign=root,
        crl_sign=root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(dns_names: Sequence[str], addresses: Sequence[Address]) -> x509.SubjectAlternativeName:
    try:
        names = [x509.DNSName(name) for name in dns_names]
    except ValueError:
        raise Malformed(found=repr(tuple(dns_names))[:160], expected="DNS names in ASCII") from None
    return x509.SubjectAlternativeName([*names, *map(x509.IPAddress, addresses)])


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return Pair(certificate=pem.decode(), key=Secret(_private(key)))


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()


def _certificate(pem: str) -> x509.Certificate | None:
    if len(pem) > _PEM_LIMIT:
        return None
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm):  # a UnicodeEncodeError is a ValueError
        return None


def _key(pair: Pair) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(pair.key.reveal().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _addresses(names: x509.SubjectAlternativeName) -> tuple[Address, ...]:
    return tuple(ip_address(str(each)) for each in names.get_values_for_type(x509.IPAddress))


def _extension(extensions: x509.Extensions, kind: type[T]) -> T | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
