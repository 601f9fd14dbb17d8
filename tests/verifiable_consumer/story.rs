//! What a member told, as its reader understands it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Events in the order they came.
#[derive(Clone, Debug)]
pub struct Story(pub Vec<Value>);

/// The fields of each kind of event, with those of what its lists hold.
pub fn fields(story: &Story) -> BTreeMap<String, BTreeSet<String>> {
    let mut fields = BTreeMap::<_, BTreeSet<_>>::new();
    for event in &story.0 {
        let of_event = fields.entry(name(event).to_owned()).or_default();
        for (field, value) in event.as_object().unwrap() {
            of_event.insert(field.clone());
            for element in value.as_array().into_iter().flatten() {
                let inner = element.as_object().unwrap().keys();
                of_event.extend(inner.map(|inner| format!("{field}.{inner}")));
            }
        }
    }
    fields
}

fn name(event: &Value) -> &str {
    event["name"].as_str().unwrap()
}

fn partitions(event: &Value) -> BTreeSet<i64> {
    event["partitions"].as_array().unwrap().iter().map(|each| each["partition"].as_i64().unwrap()).collect()
}

impl Story {
    pub fn named<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| name(event) == wanted)
    }

    pub fn consumed(&self) -> u64 {
        self.named("records_consumed").map(|event| event["count"].as_u64().unwrap()).sum()
    }

    pub fn consumed_offsets(&self) -> impl Iterator<Item = (i64, i64)> {
        let summaries = self.named("records_consumed").flat_map(|event| event["partitions"].as_array().unwrap());
        summaries.flat_map(|each| {
            let number = |name: &str| each[name].as_i64().unwrap();
            let partition = number("partition");
            assert_eq!(number("count"), number("maxOffset") - number("minOffset") + 1, "contiguous: {each}");
            (number("minOffset")..=number("maxOffset")).map(move |offset| (partition, offset))
        })
    }

    /// How partitions came and went.
    pub fn assignments(&self) -> Vec<(String, BTreeSet<i64>)> {
        let all = self.0.iter().filter(|event| ["partitions_assigned", "partitions_revoked"].contains(&name(event)));
        all.map(|event| (name(event).to_owned(), partitions(event))).collect()
    }

    /// How many came and went at a time, for which of two members gets which of them is chance. A member that joins a group of the new
    /// protocol beside another is told at once by Java that it has nothing yet; here it is told that only if it stays so for a second.
    pub fn course(&self) -> Vec<(String, usize)> {
        let all = self.assignments().into_iter().map(|(name, partitions)| (name, partitions.len()));
        all.skip_while(|(_, count)| *count == 0).collect()
    }

    /// Those that it has now.
    pub fn assigned(&self) -> BTreeSet<i64> {
        self.assignments().into_iter().fold(BTreeSet::new(), |mut assigned, (name, partitions)| {
            match name.as_str() {
                "partitions_assigned" => assigned.extend(partitions),
                _ => assigned.retain(|partition| !partitions.contains(partition)),
            }
            assigned
        })
    }

    pub fn last_committed(&self) -> BTreeMap<i64, i64> {
        let successful = self.named("offsets_committed").filter(|event| event["success"] == true);
        let offsets = successful.flat_map(|event| event["offsets"].as_array().unwrap());
        offsets.map(|each| (each["partition"].as_i64().unwrap(), each["offset"].as_i64().unwrap())).collect()
    }

    /// Java's tool takes the time of an event before it has its turn to print it.
    #[track_caller]
    pub fn assert_time_goes_on(&self) {
        assert!(self.0.iter().map(|event| event["timestamp"].as_u64().unwrap()).is_sorted());
    }

    /// What the readers of the protocol demand: records of assigned partitions only, without a gap; commits of what was consumed since the
    /// partition came, and no more; what was consumed is committed before the partition goes.
    #[track_caller]
    pub fn assert_it_holds(&self) {
        // Partition, then consumed up to and committed up to, once there is something of either.
        let mut here = BTreeMap::<i64, (Option<i64>, Option<i64>)>::new();
        assert_eq!(self.0.first().map(name), Some("startup_complete"));
        assert_eq!(self.0.last().map(name), Some("shutdown_complete"));
        for event in &self.0 {
            match name(event) {
                "partitions_assigned" => here.extend(partitions(event).into_iter().map(|each| (each, (None, None)))),
                "partitions_revoked" => {
                    for partition in partitions(event) {
                        let stay = here.remove(&partition).unwrap_or_else(|| panic!("{partition} was not here"));
                        assert_eq!(stay.0, stay.1, "partition {partition}: consumed and committed at its end");
                    }
                }
                "records_consumed" => {
                    let each = event["partitions"].as_array().unwrap();
                    let count: u64 = each.iter().map(|each| each["count"].as_u64().unwrap()).sum();
                    assert_eq!(event["count"].as_u64(), Some(count));
                    for each in each {
                        let (consumed, _) = here.get_mut(&each["partition"].as_i64().unwrap()).expect("assigned");
                        let (min, max) = (each["minOffset"].as_i64().unwrap(), each["maxOffset"].as_i64().unwrap());
                        assert!(consumed.is_none_or(|consumed| consumed == min), "without a gap: {event}");
                        *consumed = Some(max + 1);
                    }
                }
                "offsets_committed" => {
                    assert_eq!(event["success"], true, "{event}");
                    for each in event["offsets"].as_array().unwrap() {
                        let stay = here.get_mut(&each["partition"].as_i64().unwrap());
                        let (consumed, committed) = stay.expect("assigned");
                        let offset = each["offset"].as_i64().unwrap();
                        assert!(
                            consumed.is_some_and(|consumed| offset <= consumed),
                            "ahead of what is consumed: {event}"
                        );
                        *committed = Some(offset);
                    }
                }
                "startup_complete" | "shutdown_requested" | "shutdown_complete" | "record_data" => {}
                other => panic!("an event of another name: {other}"),
            }
        }
    }
}
