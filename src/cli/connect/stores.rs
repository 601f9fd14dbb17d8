//! Java's key stores and trust stores: what librdkafka reads of them, and how to convert the others.

use std::fs::File;
use std::io::Read;

use super::Refused;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pem,
    Pkcs12,
    Jks,
    Other,
}

/// librdkafka's properties for `ssl.truststore.location`: it reads PEM only.
pub(super) fn trust(path: &str) -> Result<Vec<(&'static str, String)>, Refused> {
    const NAME: &str = "ssl.truststore.location";
    match kind(NAME, path)? {
        Kind::Pem => Ok(vec![("ssl.ca.location", path.to_owned())]),
        Kind::Pkcs12 => Err(Refused::of(
            NAME,
            format!(
                "{path} is a PKCS#12 store, of which librdkafka reads no CA certificates. Export them as PEM with\n  \
                 openssl pkcs12 -in {path} -nokeys -out ca.pem\nand set ssl.ca.location=ca.pem instead"
            ),
        )),
        Kind::Jks => Err(Refused::of(
            NAME,
            format!(
                "{path} is a Java key store (JKS), which librdkafka does not read. Export its certificates as PEM with\n  \
                 keytool -list -keystore {path}   (names the aliases)\n  \
                 keytool -exportcert -rfc -keystore {path} -alias ALIAS >> ca.pem\nand set ssl.ca.location=ca.pem instead"
            ),
        )),
        Kind::Other => Err(Refused::of(NAME, format!("{path} holds no certificates: PEM is what librdkafka reads"))),
    }
}

/// librdkafka's properties for `ssl.keystore.location`: it reads PKCS#12, and PEM under other names.
pub(super) fn key(path: &str) -> Result<Vec<(&'static str, String)>, Refused> {
    const NAME: &str = "ssl.keystore.location";
    match kind(NAME, path)? {
        Kind::Pkcs12 => Ok(vec![(NAME, path.to_owned())]),
        Kind::Pem => Ok(vec![("ssl.certificate.location", path.to_owned()), ("ssl.key.location", path.to_owned())]),
        Kind::Jks => Err(Refused::of(
            NAME,
            format!(
                "{path} is a Java key store (JKS), which librdkafka does not read. Convert it with\n  \
                 keytool -importkeystore -srckeystore {path} -destkeystore keystore.p12 -deststoretype PKCS12\n\
                 and set ssl.keystore.location=keystore.p12 instead"
            ),
        )),
        Kind::Other => Err(Refused::of(NAME, format!("{path} is no key store: librdkafka reads PKCS#12 and PEM"))),
    }
}

/// What the file itself says, whatever its name or `ssl.*.type` says: Java too looks at the bytes.
fn kind(name: &str, path: &str) -> Result<Kind, Refused> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(1 << 20).read_to_end(&mut start))
        .map_err(|error| Refused::of(name, format!("cannot read {path}: {error}")))?;
    Ok(kind_of(&start))
}

fn kind_of(bytes: &[u8]) -> Kind {
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        Kind::Jks
    } else if bytes.starts_with(&[0x30]) && bytes.get(1).is_some_and(|length| *length >= 0x80) {
        // DER: a sequence longer than 127 bytes.
        Kind::Pkcs12
    } else if memchr::memmem::find(bytes, b"-----BEGIN ").is_some() {
        // Text may stand before the first block.
        Kind::Pem
    } else {
        Kind::Other
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    }

    const PEM: &[u8] = b"Bag Attributes\n-----BEGIN CERTIFICATE-----\n";
    const PKCS12: &[u8] = &[0x30, 0x82, 0x04, 0x00, 0x02];
    const JKS: &[u8] = &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];

    #[test]
    fn pem_goes_to_librdkafkas_own_names() {
        let (_kept, path) = file(PEM);
        assert_eq!(trust(&path).unwrap(), [("ssl.ca.location", path.clone())]);
        assert_eq!(
            key(&path).unwrap(),
            [("ssl.certificate.location", path.clone()), ("ssl.key.location", path.clone())]
        );
    }

    #[test]
    fn a_pkcs12_key_store_is_read_and_a_trust_store_is_to_be_converted() {
        let (_kept, path) = file(PKCS12);
        assert_eq!(key(&path).unwrap(), [("ssl.keystore.location", path.clone())]);
        let error = trust(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("openssl pkcs12 -in {path} -nokeys")), "{error}");
    }

    #[test]
    fn a_jks_is_to_be_converted() {
        let (_kept, path) = file(JKS);
        assert!(trust(&path).unwrap_err().to_string().contains("keytool -exportcert -rfc"));
        assert!(key(&path).unwrap_err().to_string().contains("-deststoretype PKCS12"));
    }

    #[test]
    fn a_file_that_is_none_or_not_there_is_named() {
        let (_kept, path) = file(b"hello");
        for error in [trust(&path).unwrap_err(), key(&path).unwrap_err(), trust("/nowhere/ca.pem").unwrap_err()] {
            assert!(error.to_string().starts_with("property ssl."), "{error}");
        }
        assert!(trust("/nowhere/ca.pem").unwrap_err().to_string().contains("cannot read /nowhere/ca.pem"));
    }
}
