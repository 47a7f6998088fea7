//! Who sends: the attributes of the resource, its name first.

use super::text::{percent_decoded, variable};
use crate::config::reader::{Reader, Setting, Table};

/// The name of the service where nobody chose another.
const SERVICE: &str = "agent-session-exporter";

/// What the file says.
#[derive(Default)]
pub(super) struct Said {
    service_name: Option<String>,
    attributes: Option<Vec<(String, String)>>,
}

impl Said {
    pub(super) fn read(&mut self, table: &mut Table<'_>, reader: &mut Reader<'_>) {
        self.service_name = table.value("service_name", reader, |text| match text {
            "" => Err("empty, write a name or remove the line".to_owned()),
            name => Ok(name.to_owned()),
        });
        self.attributes = table.list("resource_attributes", reader).map(|settings| {
            let mut pairs = Vec::new();
            for setting in settings {
                reader.publish(&setting);
                match pair(&setting.value, |value| Some(value.to_owned())) {
                    Some(pair) => pairs.push(pair),
                    None => {
                        reader.refuse(setting.place, "expected name=value, e.g. \"deployment.environment.name=prod\"")
                    }
                }
            }
            pairs
        });
    }

    /// With the variables for what the file does not say, `service.name` first. The version is ours to tell.
    pub(super) fn finished(self, reader: &mut Reader<'_>) -> Vec<(String, String)> {
        let mut attributes = match self.attributes {
            Some(attributes) => attributes,
            None => variable("OTEL_RESOURCE_ATTRIBUTES", reader).map(|it| decoded(&it, reader)).unwrap_or_default(),
        };
        let mut named = self.service_name;
        named = named.or_else(|| {
            let setting = variable("OTEL_SERVICE_NAME", reader)?;
            reader.publish(&setting);
            Some(setting.value)
        });
        named = named.or_else(|| {
            let given = attributes.iter().find(|(name, _)| name == "service.name");
            given.map(|(_, value)| value.clone())
        });
        attributes.retain(|(name, _)| name != "service.name");
        attributes.insert(0, ("service.name".to_owned(), named.unwrap_or_else(|| SERVICE.to_owned())));
        if !attributes.iter().any(|(name, _)| name == "service.version") {
            attributes.insert(1, ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        }
        attributes
    }
}

fn decoded(setting: &Setting, reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for text in setting.value.split(',').filter(|text| !text.trim().is_empty()) {
        match pair(text, percent_decoded) {
            Some(pair) => {
                // Decoded it is what is published.
                reader.publish(&Setting {
                    place: setting.place.clone(),
                    value: pair.1.clone(),
                    literal: false,
                    variable: None,
                });
                pairs.push(pair);
            }
            None => reader.refuse_once(
                setting.place.clone(),
                "expected name=value,name=value with percent-encoded values, e.g. deployment.environment.name=prod",
            ),
        }
    }
    pairs
}

fn pair(text: &str, decode: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (decode(name.trim())?, decode(value.trim())?);
    let is_clean = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    (is_clean(&name) && is_clean(&value)).then_some((name, value))
}
