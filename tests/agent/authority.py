"""Certificates for tests: an authority of their own, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

EC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Authority:
    """A certificate authority of the test's own, by openssl."""

    def __init__(self, folder: Path, name: str, algorithm: tuple[str, ...] = ("ed25519",)) -> None:
        """Make its key and certificate; `algorithm` as openssl's -newkey takes it."""
        self.folder, self.name, self.algorithm = folder, name, algorithm
        self.file = folder / f"{name}.pem"
        self.key = folder / f"{name}-key.pem"
        subject = ["-subj", f"/CN={name}", "-days", "2"]
        made = ["-keyout", self.key, "-out", self.file]
        self._openssl("req", "-x509", "-newkey", *algorithm, "-nodes", *subject, *made)

    def issue(self, name: str, address: str = "127.0.0.1", expired: bool = False) -> tuple[Path, Path]:
        """Certificate and key for an address; `expired`: good until yesterday."""
        key, request = self.folder / f"{name}-key.pem", self.folder / f"{name}.csr"
        certificate, extra = self.folder / f"{name}.pem", self.folder / f"{name}.ext"
        extra.write_text(f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n")
        asked = ["-subj", f"/CN={name}", "-keyout", key, "-out", request]
        self._openssl("req", "-newkey", *self.algorithm, "-nodes", *asked)
        signer = ["-CA", self.file, "-CAkey", self.key, "-CAcreateserial", "-extfile", extra]
        days = ["-days", "-1" if expired else "2"]
        self._openssl("x509", "-req", "-in", request, *signer, *days, "-out", certificate)
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
