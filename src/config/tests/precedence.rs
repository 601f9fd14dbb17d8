//! The last source that says anything wins, setting by setting.

use proptest::prelude::*;

use super::super::{Origin, Sources};

/// What one source says: a setting, and a property in the table for all and in the consumer's own, by either of its names.
#[derive(Debug, Clone)]
struct Said {
    attempts: Option<u32>,
    shared: Option<(u32, bool)>,
    own: Option<(u32, bool)>,
}

fn said() -> impl Strategy<Value = Said> {
    let property = || proptest::option::of((1000..2000_u32, any::<bool>()));
    (proptest::option::of(1..100_u32), property(), property()).prop_map(|(attempts, shared, own)| Said {
        attempts,
        shared,
        own,
    })
}

fn name(alias: bool) -> &'static str {
    if alias { "max.partition.fetch.bytes" } else { "fetch.message.max.bytes" }
}

impl Said {
    fn file(&self, sources: Sources, file: &str) -> Sources {
        let mut text = String::new();
        let property = |table, said: Option<(u32, bool)>| {
            said.map(|(value, alias)| format!("[{table}]\n'{}' = {value}\n", name(alias))).unwrap_or_default()
        };
        text += &property("kafka", self.shared);
        text += &property("consumer.kafka", self.own);
        text += &self.attempts.map(|attempts| format!("[consumer]\nmax_attempts = {attempts}\n")).unwrap_or_default();
        sources.toml(file, &text).unwrap()
    }

    fn variables(&self, sources: Sources) -> Sources {
        let property = |table, said: Option<(u32, bool)>| {
            let variable = |alias| format!("TROUPE_{table}__{}", name(alias).replace('.', "_").to_ascii_uppercase());
            said.map(|(value, alias)| (variable(alias), value.to_string()))
        };
        let attempts = self.attempts.map(|attempts| ("TROUPE_CONSUMER__MAX_ATTEMPTS".to_owned(), attempts.to_string()));
        let variables = [attempts, property("KAFKA", self.shared), property("CONSUMER__KAFKA", self.own)];
        sources.variables(variables.into_iter().flatten()).unwrap()
    }

    fn options(&self, mut sources: Sources) -> Sources {
        let origin = || Origin::Option("--option".to_owned());
        if let Some(attempts) = self.attempts {
            sources = sources.set("consumer.max_attempts", attempts.to_string(), origin()).unwrap();
        }
        for (table, said) in [("kafka", self.shared), ("consumer.kafka", self.own)] {
            if let Some((value, alias)) = said {
                sources = sources.set(&format!("{table}.{}", name(alias)), value.to_string(), origin()).unwrap();
            }
        }
        sources
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_last_that_says_anything_wins_setting_by_setting(says in prop::array::uniform4(said())) {
        let sources = says[0].file(Sources::new(), "first.toml");
        let sources = says[1].file(sources, "second.toml");
        let config = says[3].options(says[2].variables(sources)).load().unwrap();

        let attempts = says.iter().rev().find_map(|said| said.attempts);
        prop_assert_eq!(config.consumer.max_attempts, attempts.unwrap_or(10));
        // Of one source its own table for consumers wins; a later source wins over both of an earlier one.
        let expected = says.iter().rev().find_map(|said| said.own.or(said.shared)).map(|(value, _)| value.to_string());
        prop_assert_eq!(config.consumer.kafka.get("fetch.message.max.bytes"), expected.as_deref());
        // A producer is not told.
        prop_assert_eq!(config.producer.kafka.iter().count(), 0);

        let settings = config.consumer_settings();
        let who = says.iter().rposition(|said| said.attempts.is_some());
        let row = settings.iter().find(|row| row.name == "consumer.max_attempts").unwrap();
        let (value, origin) = (row.value.clone(), row.origin.to_string());
        prop_assert_eq!(value, attempts.unwrap_or(10).to_string());
        let expected = match who {
            None => "default",
            Some(0) => "first.toml:",
            Some(1) => "second.toml:",
            Some(2) => "TROUPE_CONSUMER__MAX_ATTEMPTS",
            _ => "--option",
        };
        prop_assert!(origin.starts_with(expected), "{} is not {}", origin, expected);
        let fetches = settings.iter().filter(|row| row.name.ends_with("fetch.message.max.bytes") || row.name.ends_with("max.partition.fetch.bytes"));
        prop_assert_eq!(fetches.count(), 1);
    }
}

#[test]
fn sources_are_taken_in_the_order_they_are_named() {
    let file = |sources: Sources| sources.toml("t.toml", "consumer.max_attempts = 1").unwrap();
    let variable = |sources: Sources| sources.variables([("TROUPE_CONSUMER__MAX_ATTEMPTS", "2")]).unwrap();
    let attempts = |sources: Sources| sources.load().unwrap().consumer.max_attempts;
    assert_eq!(attempts(variable(file(Sources::new()))), 2);
    assert_eq!(attempts(file(variable(Sources::new()))), 1);
    assert_eq!(attempts(variable(Sources::new()).then(file(Sources::new()))), 1);
}

#[test]
fn code_has_the_last_word() {
    let config = variable_of_group("file").load().unwrap();
    let builder = format!("{:?}", config.consumer.builder().group_id("code"));
    assert!(builder.contains(r#""group.id": "code""#) && !builder.contains("file"), "{builder}");
}

fn variable_of_group(group: &str) -> Sources {
    Sources::new().variables([("TROUPE_CONSUMER__GROUP_ID", group)]).unwrap()
}
