"""One certificate authority for the API server and the kubelet of a test, good for an hour or two."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = datetime.timedelta(days=1)


class Authority:
    """Writes `ca.crt`, and for each name `NAME.crt` and `NAME.key`, into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ca.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("cluster of a test")
        made = self._certificate(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self.file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def server(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a server on this machine's loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = x509.SubjectAlternativeName(
            [
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.DNSName("localhost"),
            ]
        )
        made = self._certificate(_name(name), key).add_extension(hosts, False).sign(self._key, hashes.SHA256())
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(_pem(made))
        private.touch(mode=0o600)
        private.write_bytes(private_pem(key))
        return certificate, private

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - LIFETIME).not_valid_after(now + LIFETIME)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as Kubernetes reads it."""
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def signing_key(file: Path) -> Path:
    """A key for the tokens of service accounts."""
    file.touch(mode=0o600)
    file.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    return file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
