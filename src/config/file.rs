//! A TOML file becomes a layer.

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::layer::{Layer, Value, no_table};
use super::origin::Origin;

/// Reads a file's text; `file` is what it is called in messages.
pub(super) fn read(file: &str, text: &str) -> Result<Layer, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let place = Place { file, text };
    // The error's own text shows the line, which may hold a secret.
    let table = DeTable::parse(text).map_err(|error| ConfigError::Malformed {
        origin: place.at(error.span().map_or(text.len(), |span| span.start)),
        why: error.message().to_owned(),
    })?;
    let mut layer = Layer::default();
    for (name, value) in table.get_ref() {
        // Here and not by what it holds, for it may be empty.
        if !["kafka", "consumer", "producer"].contains(&&**name.get_ref()) || !value.get_ref().is_table() {
            return Err(no_table(&first(name.get_ref(), value.get_ref()), place.at(name.span().start)));
        }
        place.walk(&mut layer, name.get_ref(), value)?;
    }
    Ok(layer)
}

/// The first thing that a table sets: `bootstrap.servers` without a table is a table `bootstrap` to TOML.
fn first(name: &str, value: &DeValue<'_>) -> String {
    match value.as_table().and_then(|table| table.iter().next()) {
        Some((inner, value)) => format!("{name}.{}", first(inner.get_ref(), value.get_ref())),
        None => name.to_owned(),
    }
}

struct Place<'a> {
    file: &'a str,
    text: &'a str,
}

impl Place<'_> {
    fn at(&self, byte: usize) -> Origin {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let (line, in_line) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or(before));
        Origin::File { file: self.file.to_owned(), line, column: in_line.chars().count() + 1 }
    }

    fn walk(&self, layer: &mut Layer, path: &str, value: &toml::Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        match value.get_ref() {
            DeValue::Table(table) => {
                let mut entries = table.iter();
                entries.try_for_each(|(name, value)| self.walk(layer, &format!("{path}.{}", name.get_ref()), value))
            }
            other => {
                let origin = self.at(value.span().start);
                let value = meant(other).map_err(|why| ConfigError::Invalid {
                    origin: origin.clone(),
                    name: path.to_owned(),
                    why,
                })?;
                layer.set_once(path, value, origin)
            }
        }
    }
}

/// A list of texts, as a variable may hold it.
pub(super) fn list(text: &str) -> Option<Vec<String>> {
    let value = DeValue::parse(text).ok()?;
    let texts = value.get_ref().as_array()?.iter().map(|each| each.get_ref().as_str().map(str::to_owned));
    texts.collect()
}

fn meant(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => return Err("this number is too large".to_owned()),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => return Err("this is no number".to_owned()),
        },
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(|each| meant(each.get_ref())).collect::<Result<_, _>>()?),
        DeValue::Table(_) => Value::Table,
    })
}
