//! Which format and encoding a request asks for, by the rules of RFC 9110 and the headers that Prometheus sends.

use crate::views::prometheus::Format;

/// One element of a list header with its weight.
struct Choice<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths, as finer weights do not exist.
    weight: u16,
}

impl Choice<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

fn choices(header: &str) -> impl Iterator<Item = Choice<'_>> {
    header.split(',').filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .collect();
        let mut choice = Choice { name, parameters, weight: 1000 };
        if let Some(weight) = choice.parameter("q") {
            choice.weight = thousandths(weight);
        }
        Some(choice)
    })
}

/// A weight that makes no sense counts as no wish at all.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 0,
    }
}

/// How precisely a media range means a format: by name, by its main type, by `*/*`, or not at all.
fn precision(choice: &Choice<'_>, format: Format) -> Option<u8> {
    let (full, main) = match format {
        Format::Text => ("text/plain", "text/*"),
        Format::OpenMetrics => ("application/openmetrics-text", "application/*"),
        Format::Protobuf => ("application/vnd.google.protobuf", "application/*"),
    };
    if choice.name.eq_ignore_ascii_case(full) {
        let is_version = |written: &str| choice.parameter("version").is_none_or(|asked| asked == written);
        let is_it = match format {
            // Of OpenMetrics 0.0.1 and text 1.0.0, which Prometheus lists besides, none is written here.
            Format::Text => is_version("0.0.4"),
            Format::OpenMetrics => is_version("1.0.0"),
            // The media type alone says protobuf and not which messages, nor how they follow one another.
            Format::Protobuf => {
                choice.parameter("proto") == Some("io.prometheus.client.MetricFamily")
                    && choice.parameter("encoding") == Some("delimited")
            }
        };
        return is_it.then_some(2);
    }
    match choice.name {
        "*/*" => Some(0),
        name => name.eq_ignore_ascii_case(main).then_some(1),
    }
}

/// The most precise range decides, and of equally precise ones the heaviest: its precision and weight.
fn wish(accept: &str, format: Format) -> Option<(u8, u16)> {
    choices(accept).filter_map(|choice| Some((precision(&choice, format)?, choice.weight))).max()
}

/// The format to answer with. Text is what everybody reads, so the others have to be asked for by name and to be liked
/// at least as well, protobuf before OpenMetrics; and text it is as well where nothing that is asked for can be given.
pub(super) fn format(accept: &str) -> Format {
    let text = wish(accept, Format::Text).map_or(0, |(_, weight)| weight);
    let mut best = (text, Format::Text);
    for format in [Format::OpenMetrics, Format::Protobuf] {
        if let Some((2, weight @ 1..)) = wish(accept, format)
            && weight >= best.0
        {
            best = (weight, format);
        }
    }
    best.1
}

/// Whether the answer may be compressed with gzip: named, or meant by `*`, and not with weight 0.
pub(super) fn takes_gzip(accept_encoding: &str) -> bool {
    let weight = |name: &str| {
        choices(accept_encoding).find(|choice| choice.name.eq_ignore_ascii_case(name)).map(|choice| choice.weight)
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        use Format::{OpenMetrics, Protobuf, Text};
        for (who, accept, expected) in [
            ("nobody in particular", "", Text),
            ("curl", "*/*", Text),
            (
                "a browser",
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
                Text,
            ),
            (
                "prometheus 2.42",
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "prometheus 2.42 with native histograms",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Protobuf,
            ),
            (
                "prometheus 3 with native histograms",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Protobuf,
            ),
            (
                "protobuf that is liked less",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.4,\
                 application/openmetrics-text;version=1.0.0;q=0.5",
                OpenMetrics,
            ),
            (
                "protobuf that is not wanted",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0",
                Text,
            ),
            ("protobuf of nobody knows what", "application/vnd.google.protobuf", Text),
            (
                "protobuf as text",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                Text,
            ),
            (
                "prometheus 3",
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "prometheus 3 told to prefer text",
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 application/openmetrics-text;version=0.0.1;q=0.3,*/*;q=0.2",
                Text,
            ),
            (
                "prometheus 2.5",
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Text,
            ),
            ("openmetrics without a version", "application/openmetrics-text", OpenMetrics),
            (
                "any case, any order",
                "Text/Plain;Q=0.2, Application/OpenMetrics-Text;q=0.3;version=\"1.0.0\"",
                OpenMetrics,
            ),
            ("equally liked", "text/plain,application/openmetrics-text", OpenMetrics),
            ("not wanted", "application/openmetrics-text;q=0,text/plain;q=0.1", Text),
            ("not wanted alone", "application/openmetrics-text;q=0", Text),
            ("anything of that kind", "application/*", Text),
            ("unknown", "application/json", Text),
            ("nonsense", ";;,=,;q=,application/openmetrics-text;q=heavy", Text),
        ] {
            assert_eq!(format(accept), expected, "{who}");
        }
    }

    #[test]
    fn encodings() {
        for (accept, expected) in [
            ("", false),
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("GZIP;q=0.5", true),
            ("deflate", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*", true),
            ("*;q=0", false),
            ("identity;q=1, *;q=0", false),
            ("identity, *;q=0.1", true),
        ] {
            assert_eq!(takes_gzip(accept), expected, "{accept:?}");
        }
    }
}
