"""The cluster's own certificate authority and server certificate, and the kubeconfig that trusts them."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = dt.timedelta(days=3650)
_RENEW_BEFORE = dt.timedelta(days=30)
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: ca.crt, server.crt, server.key."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """The server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def ensure_certificates(folder: Path, now: dt.datetime | None = None) -> Certificates:
    """The certificates in `folder`; made where they are missing, incomplete or about to end."""
    found = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    now = now or dt.datetime.now(dt.UTC)
    if found.ca.exists() and found.key.exists() and found.certificate.exists():
        certificate = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        if certificate.not_valid_after_utc - now > _RENEW_BEFORE:
            return found
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("selm-local-ca", ca_key, None, now)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("kube-apiserver", key, (ca, ca_key), now)
    # The key last but one, the certificate last: a half-written folder is made anew.
    write_private(found.ca, ca.public_bytes(serialization.Encoding.PEM))
    write_private(
        found.key,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    write_private(found.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return found


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    now: dt.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signing_key = issuer[1] if issuer else key
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
    builder = builder.add_extension(authority, critical=False)
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage |= {"digital_signature": True, "key_cert_sign": issuer is None, "crl_sign": issuer is None}
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if issuer:
        addresses = [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1")]
        alternative = x509.SubjectAlternativeName([*(x509.DNSName(n) for n in SERVER_NAMES), *addresses])
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(alternative, critical=False).add_extension(server, critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def kubeconfig(server: str, ca: bytes, token: str, *, name: str = "selm-local", namespace: str = "default") -> str:
    """A kubeconfig (YAML) for `server` (https://host:port) with the CA (PEM) and a bearer token in it."""
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()},
            }
        ],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    text: str = yaml.safe_dump(found, sort_keys=False)
    return text
