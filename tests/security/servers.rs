//! Kafkas that demand to know who comes. Each starts once, with the first test that needs it, and ends with the process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use kafka_troupe::broker::{LocalKafka, LocalKafkaBuilder};
use tempfile::TempDir;

/// May do everything.
pub const ALICE: (&str, &str) = ("alice", "alice-s3cret");
/// May do what a test allows him.
pub const BOB: (&str, &str) = ("bob", "bob-s3cret");
/// As Bob, but for tests that let somebody write: from then on Kafka answers that user's producers otherwise, whatever the topic.
pub const CAROL: (&str, &str) = ("carol", "carol-s3cret");

/// SASL/PLAIN without TLS, and permissions.
pub fn plain() -> &'static LocalKafka {
    static KAFKA: LazyLock<LocalKafka> = LazyLock::new(|| start(demanding("SASL_PLAINTEXT", "PLAIN")));
    &KAFKA
}

fn start(builder: LocalKafkaBuilder) -> LocalKafka {
    builder.start().unwrap_or_else(|error| panic!("{error}"))
}

fn demanding(protocol: &str, mechanisms: &str) -> LocalKafkaBuilder {
    let users = [ALICE, BOB, CAROL].map(|(name, password)| format!("user_{name}=\"{password}\"")).join(" ");
    LocalKafka::builder()
        .secure_listener(protocol)
        .property("listener.name.secure.sasl.enabled.mechanisms", mechanisms)
        .property(
            "listener.name.secure.plain.sasl.jaas.config",
            format!("org.apache.kafka.common.security.plain.PlainLoginModule required {users};"),
        )
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        // Whoever comes by the plain listener: the nodes themselves, and the tests when they set the scene.
        .property("super.users", "User:ANONYMOUS;User:alice")
}

/// A Kafka that speaks TLS, with two certificates: its own, which signs itself, and one that has nothing to do with it.
pub struct Tls {
    pub kafka: LocalKafka,
    folder: TempDir,
}

impl Tls {
    pub fn right_ca(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    pub fn wrong_ca(&self) -> PathBuf {
        self.folder.path().join("stranger.pem")
    }
}

/// SASL over TLS, by PLAIN and SCRAM.
pub fn tls() -> &'static Tls {
    static TLS: LazyLock<Tls> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["server", "stranger"] {
            certify(folder.path(), name);
        }
        let builder = demanding("SASL_SSL", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")
            .scram_user(ALICE.0, ALICE.1)
            .property("listener.name.secure.ssl.keystore.type", "PKCS12")
            .property(
                "listener.name.secure.ssl.keystore.location",
                folder.path().join("server.p12").display().to_string(),
            )
            .property("listener.name.secure.ssl.keystore.password", "store-s3cret")
            .property("listener.name.secure.ssl.key.password", "store-s3cret");
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let builder = ["256", "512"].into_iter().fold(builder, |builder, bits| {
            builder.property(format!("listener.name.secure.scram-sha-{bits}.sasl.jaas.config"), scram)
        });
        Tls { kafka: start(builder), folder }
    });
    &TLS
}

/// Makes a key with a certificate that it signs itself, in NAME.p12 and, without the key, in NAME.pem.
fn certify(folder: &Path, name: &str) {
    let keytool = |arguments: &[&str]| {
        let store = ["-keystore", &format!("{name}.p12"), "-storepass", "store-s3cret", "-alias", name];
        let ran = Command::new("keytool").args(arguments).args(store).current_dir(folder).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    };
    let names = "san=ip:127.0.0.1,dns:localhost";
    keytool(&["-genkeypair", "-keyalg", "EC", "-dname", &format!("CN={name}"), "-ext", names, "-ext", "bc:c"]);
    keytool(&["-exportcert", "-rfc", "-file", &format!("{name}.pem")]);
}
