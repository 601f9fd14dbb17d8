//! A secret that is planted is shown nowhere.

use troupe_actors::secret::is_secret;

use super::super::{Origin, Sources, names};

const PLANTED: &str = "pl4nted-s3cret";

#[test]
fn a_planted_secret_is_in_no_debug_no_report_and_no_serialized_text() {
    let secrets: Vec<_> = names::all().filter(|name| is_secret(names::canonical(name))).collect();
    assert!(secrets.len() > 5 && secrets.contains(&"sasl.password"), "{secrets:?}");
    for name in secrets {
        let text = format!("[kafka]\n'{name}' = '{PLANTED}'\n");
        let variable = format!("TROUPE_PRODUCER__KAFKA__{}", name.replace('.', "_").to_ascii_uppercase());
        for sources in [
            Sources::new().toml("t.toml", &text).unwrap(),
            Sources::new().variables([(variable, PLANTED)]).unwrap(),
            Sources::new().set(&format!("consumer.kafka.{name}"), PLANTED, Origin::Option("-X".to_owned())).unwrap(),
        ] {
            let mut shown = format!("{sources:?}");
            match sources.load() {
                Ok(config) => {
                    shown += &format!("{config:?} {:?} {:?}", config.consumer_settings(), config.producer_settings());
                    shown += &format!("{:?}", toml::Table::try_from(&config.consumer).unwrap());
                    shown += &format!("{:?} {:?}", config.consumer.builder(), config.producer.builder());
                }
                // Without TLS, librdkafka does not take some.
                Err(error) => shown += &format!("{error} {error:?}"),
            }
            assert!(shown.contains("***") && !shown.contains(PLANTED), "{name}: {shown}");
        }
    }
}

#[test]
fn a_planted_secret_is_in_no_error() {
    for text in [
        format!("[kafka]\nsasl.password = '{PLANTED}"),
        format!("[kafka]\nsasl.password = {PLANTED}"),
        format!("[kafka]\nsasl.password '{PLANTED}'"),
        format!("[kafka]\nsasl.password = ['{PLANTED}']"),
        format!("[kafka]\nsasl.password = {{ is = '{PLANTED}' }}"),
        format!("[kafka]\nsasl.pasword = '{PLANTED}'"),
        format!("[kafka]\nsasl.password = 'x'\n'sasl.password' = '{PLANTED}'"),
        format!("[consumer]\nsasl.password = '{PLANTED}'"),
        format!("[consumer]\nkafka = 'sasl.password={PLANTED}'"),
        format!("sasl.password = '{PLANTED}'"),
        format!("[kafka]\nsasl.oauthbearer.config = '{PLANTED}'\nenable.sasl.oauthbearer.unsecure.jwt = '{PLANTED}'")
            .replace(&format!("jwt = '{PLANTED}'"), "jwt = 'x'"),
    ] {
        let error = Sources::new().toml("t.toml", &text).and_then(Sources::load).map(drop).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(PLANTED), "{text}: {error}");
    }
}
