"""A certificate authority for tests, and what it issues, as PEM files."""

import dataclasses
import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = dt.timedelta(days=1)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    **dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "encipher_only", "decipher_only",
        ),
        False,
    ),
)  # fmt: skip
LOCAL = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate and its private key on disk."""

    certificate: Path
    key: Path

    def copy_to(self, other):
        """Replace another pair's files, each at once."""
        for source, target in ((self.certificate, other.certificate), (self.key, other.key)):
            fresh = target.with_suffix(".new")
            fresh.write_bytes(source.read_bytes())
            fresh.replace(target)

    def copy_key_to(self, other):
        other.key.write_bytes(self.key.read_bytes())


def uri(text):
    return x509.UniformResourceIdentifier(text)


def dns(text):
    return x509.DNSName(text)


class Authority:
    """Issues certificates that are valid for a day."""

    def __init__(self, directory: Path, name="ca"):
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = _sign(self._name, self._key, self._name, self._key, (), authority=True)
        self.certificate = directory / f"{name}.pem"
        self.certificate.write_bytes(_pem(self._certificate))

    def issue(self, name, *alternative_names, file_name=None, ends_in=DAY) -> Pair:
        """``ends_in``: of the day that it is valid for, what is left."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(_name(name), key, self._name, self._key, alternative_names, ends_in=ends_in)
        file_name = file_name or name
        pair = Pair(self.directory / f"{file_name}.pem", self.directory / f"{file_name}-key.pem")
        pair.certificate.write_bytes(_pem(certificate))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def _sign(subject, key, issuer, issuer_key, alternative_names, *, authority=False, ends_in=DAY):
    ends_at = dt.datetime.now(dt.UTC) + ends_in
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends_at - DAY - dt.timedelta(minutes=5))
        .not_valid_after(ends_at)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        # As RFC 5280 4.2.1 wants it, and Python from 3.13 on.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if authority:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    if alternative_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
