//! The environment's variables become a layer.
//!
//! `TROUPE_TABLE__NAME`, two underscores between tables and name: `TROUPE_CONSUMER__ORDER`, `TROUPE_KAFKA__SASL_PASSWORD`. In the name of a
//! property an underscore is a dot, for no property has one. Names without two underscores are others'.

use std::ffi::OsString;

use super::error::ConfigError;
use super::layer::{Layer, Table, Value};
use super::origin::Origin;
use super::{ConsumerConfig, ProducerConfig, names};

const PREFIX: &str = "TROUPE_";

pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(path) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else { continue };
        let origin = Origin::Variable(name.to_owned());
        match path.rsplit_once("__") {
            Some((tables, setting)) => {
                let tables = tables.replace("__", ".");
                let of_properties = tables == "kafka" || tables.ends_with(".kafka");
                let path =
                    format!("{tables}.{}", if of_properties { setting.replace('_', ".") } else { setting.to_owned() });
                let Some(value) = value.to_str() else {
                    return Err(ConfigError::Invalid { origin, name: path, why: "it is not UTF-8".to_owned() });
                };
                layer.set_once(&path, Value::Said(value.to_owned()), origin)?;
            }
            None => refuse_half_an_underscore(&path, origin)?,
        }
    }
    Ok(layer)
}

/// `TROUPE_CONSUMER_ORDER` would mean nothing, silently. Others of the kind are let pass: Kubernetes makes `TROUPE_CONSUMER_PORT` of a
/// service's name.
fn refuse_half_an_underscore(path: &str, origin: Origin) -> Result<(), ConfigError> {
    let is_option = |name: &str, of: &[super::SettingDoc]| of.iter().any(|doc| doc.name == name);
    let meant = Table::ALL.iter().find_map(|table| {
        let name = path.strip_prefix(&table.name().replace('.', "_"))?.strip_prefix('_')?;
        let known = match table {
            Table::Consumer => is_option(name, ConsumerConfig::SETTINGS),
            Table::Producer => is_option(name, ProducerConfig::SETTINGS),
            _ => names::all().any(|each| each == name.replace('_', ".")),
        };
        known.then(|| format!("{PREFIX}{}__{}", table.name().replace('.', "__"), name).to_ascii_uppercase())
    });
    match meant {
        None => Ok(()),
        Some(meant) => Err(ConfigError::Unknown { name: path.to_ascii_uppercase(), nearest: Some(meant), origin }),
    }
}
