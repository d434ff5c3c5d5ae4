"""Files with a C2PA manifest, signed by an authority that exists for one test run."""

import datetime
import functools
import io

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@functools.cache
def certificates() -> tuple[bytes, bytes]:
    """A signer's certificate with that of its authority, and the signer's key; all PEM."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    authority, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("Throw-away authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(is_authority, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
            .add_extension(_usage(is_authority), True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    key = signer.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate("Toy signer", signer, False) + certificate("Throw-away authority", authority, True), key


def _name(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def sign(
    data: bytes,
    mime: str,
    *,
    source_type: str = AI,
    maker: str = "Toy generator",
    parent: bytes | None = None,
    url: str | None = None,
) -> bytes:
    """The file with a manifest.

    Args:
        data: The file.
        mime: Its type.
        source_type: What the manifest says of its origin; of the edit, where there is a parent.
        maker: Program that claims to have made it.
        parent: Signed file of the same type that it was made from.
        url: Where the manifest lies; it is then not in the file.
    """
    action = {"action": "c2pa.created" if parent is None else "c2pa.edited", "digitalSourceType": source_type}
    manifest = {
        "claim_generator_info": [{"name": maker, "version": "1.0"}],
        "format": mime,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    output, (chain, key) = io.BytesIO(), certificates()
    with c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", chain, key, None)) as signer, c2pa.Builder(manifest) as b:
        if parent is not None:
            b.set_intent(c2pa.C2paBuilderIntent.EDIT)
            b.add_ingredient({"title": "parent", "relationship": "parentOf"}, mime, io.BytesIO(parent))
        if url is not None:
            b.set_no_embed()
            b.set_remote_url(url)
        b.sign(signer, mime, io.BytesIO(data), output)
    return output.getvalue()
