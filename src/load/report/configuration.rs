use std::fmt::{self, Display};

use serde_json::Value;

use super::super::result::{Outcome, Told};
use super::Page;
use super::sections::{close, open};
use super::text::Text;

/// What was in force. `plan` is what the run was to do.
pub(super) fn configuration(f: Page<'_, '_>, result: &Outcome, plan: &Value) -> fmt::Result {
    open(f, "configuration", "Configuration")?;
    f.write_str("<h3>Plan</h3>\n")?;
    values(f, plan)?;
    f.write_str("<h3>Host</h3>\n")?;
    values(f, &serde_json::to_value(&result.host).unwrap_or_default())?;
    for (of, told) in [("Producer", &result.settings.producer), ("Consumer", &result.settings.consumer)] {
        settings(f, of, told)?;
    }
    close(f)
}

fn pair(f: Page<'_, '_>, name: &str, value: impl Display) -> fmt::Result {
    write!(f, "<dt>{}</dt><dd>{}</dd>", Text(name), Text(value))
}

fn settings(f: Page<'_, '_>, of: &str, told: &[Told]) -> fmt::Result {
    if told.is_empty() {
        return Ok(());
    }
    write!(f, "<details><summary>{of}: {} settings</summary>\n<dl class=\"pairs\">", told.len())?;
    for Told { name, value, from } in told {
        let value = if value.is_empty() { "-" } else { value };
        let from = if from == "default" { String::new() } else { format!(" ({from})") };
        pair(f, name, format_args!("{value}{from}"))?;
    }
    f.write_str("</dl></details>\n")
}

/// What is not nothing of a value's fields, those of fields in fields behind a dot.
fn values(f: Page<'_, '_>, value: &Value) -> fmt::Result {
    let mut pairs = Vec::new();
    flatten(String::new(), value, &mut pairs);
    f.write_str("<dl class=\"pairs\">")?;
    pairs.iter().try_for_each(|(name, value)| pair(f, name, value))?;
    f.write_str("</dl>\n")
}

fn flatten(name: String, value: &Value, pairs: &mut Vec<(String, String)>) {
    let within = |field: &str| if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.iter().for_each(|(field, value)| flatten(within(field), value, pairs)),
        Value::Array(list) => {
            (1..).zip(list).for_each(|(number, value)| flatten(within(&number.to_string()), value, pairs));
        }
        Value::String(text) => pairs.push((name, text.clone())),
        other => pairs.push((name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_in_fields_stand_behind_a_dot_and_nothing_is_left_out() {
        let mut pairs = Vec::new();
        flatten(String::new(), &json!({"a": {"b": 1, "c": null}, "d": ["x", {"e": true}]}), &mut pairs);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a.b", "1"), ("d.1", "x"), ("d.2.e", "true")]);
    }
}
