//! What one place says about a destination: a table of the file, or a set of variables.

use std::time::Duration;

use secrecy::SecretString;

use super::text::{compression, lines, pairs, protocol, yes_or_no};
use super::{Histograms, OtlpProtocol, Temporality};
use crate::config::duration::duration_between;
use crate::config::problem::Place;
use crate::config::reader::{Reader, Setting, Table, choice, number_between};

/// One table: that of everything, or that of a signal.
#[derive(Default)]
pub(super) struct Said {
    pub(super) enabled: Option<bool>,
    pub(super) endpoint: Option<Setting>,
    pub(super) protocol: Option<OtlpProtocol>,
    pub(super) headers: Option<Vec<(String, SecretString)>>,
    /// Where the headers stand.
    pub(super) headers_place: Option<Place>,
    pub(super) timeout: Option<Duration>,
    pub(super) gzip: Option<bool>,
    pub(super) authorities: Option<Setting>,
    pub(super) certificate: Option<Setting>,
    pub(super) key: Option<Setting>,
    pub(super) interval: Option<Duration>,
    pub(super) temporality: Option<Temporality>,
    pub(super) histograms: Option<Histograms>,
    pub(super) outbox_limit: Option<usize>,
    pub(super) batch: Option<usize>,
}

impl Said {
    pub(super) fn read_enabled(&mut self, table: &mut Table<'_>, reader: &mut Reader<'_>) {
        self.enabled = table.value("enabled", reader, yes_or_no);
    }

    pub(super) fn read_destination(&mut self, table: &mut Table<'_>, reader: &mut Reader<'_>) {
        // Whether it can be used depends on the protocol, which another place may name.
        self.endpoint = table.setting("endpoint", reader);
        if let Some(endpoint) = &self.endpoint {
            reader.publish(endpoint);
        }
        self.protocol = table.value("protocol", reader, protocol);
        let place = table.place_of("headers", reader);
        let written = table.list("headers", reader);
        written.iter().flatten().for_each(|header| reader.holds_secret(header));
        let filed = table.setting("headers_file", reader).and_then(|file| {
            let text = reader.read_file(&file)?;
            reader.look_at_secret(&file);
            Some(lines(&file, &text))
        });
        if written.is_some() || filed.is_some() {
            let both = written.into_iter().chain(filed).flatten().collect();
            self.headers = Some(pairs(both, reader));
            self.headers_place = Some(place);
        }
        self.timeout = table.value("timeout", reader, |text| duration_between(text, "1s", "5m"));
        self.gzip = table.value("compression", reader, compression);
        if let Some(mut tls) = table.table("tls", reader) {
            self.authorities = tls.setting("ca_file", reader);
            self.certificate = tls.setting("cert_file", reader);
            self.key = tls.setting("key_file", reader);
            tls.close(reader);
        }
    }

    pub(super) fn read_interval(&mut self, table: &mut Table<'_>, reader: &mut Reader<'_>) {
        self.interval = table.value("interval", reader, |text| duration_between(text, "1s", "1h"));
    }

    pub(super) fn read_metrics(&mut self, table: &mut Table<'_>, reader: &mut Reader<'_>) {
        self.read_interval(table, reader);
        let temporalities = [("cumulative", Temporality::Cumulative), ("delta", Temporality::Delta)];
        self.temporality = table.value("temporality", reader, |text| choice(text, &temporalities));
        let histograms = [("explicit", Histograms::Explicit), ("exponential", Histograms::Exponential)];
        self.histograms = table.value("histograms", reader, |text| choice(text, &histograms));
    }

    pub(super) fn read_traces(&mut self, table: &mut Table<'_>, reader: &mut Reader<'_>) {
        self.outbox_limit = table.value("outbox_limit", reader, |text| number_between(text, 1000, 10_000_000));
        self.batch = table.value("batch", reader, |text| number_between(text, 1, 8192));
    }
}

/// The variables of one signal, each with the one for all signals.
#[derive(Clone, Copy)]
pub(super) struct Variables {
    /// Where the signal is taken below an endpoint for all signals.
    pub(super) path: &'static str,
    pub(super) endpoint: [&'static str; 2],
    pub(super) protocol: [&'static str; 2],
    pub(super) headers: [&'static str; 2],
    pub(super) timeout: [&'static str; 2],
    pub(super) compression: [&'static str; 2],
    pub(super) insecure: [&'static str; 2],
    pub(super) authorities: [&'static str; 2],
    pub(super) certificate: [&'static str; 2],
    pub(super) key: [&'static str; 2],
}

macro_rules! variables {
    ($path:literal, $signal:literal) => {
        Variables {
            path: $path,
            endpoint: variables!(@ $signal, "ENDPOINT"),
            protocol: variables!(@ $signal, "PROTOCOL"),
            headers: variables!(@ $signal, "HEADERS"),
            timeout: variables!(@ $signal, "TIMEOUT"),
            compression: variables!(@ $signal, "COMPRESSION"),
            insecure: variables!(@ $signal, "INSECURE"),
            authorities: variables!(@ $signal, "CERTIFICATE"),
            certificate: variables!(@ $signal, "CLIENT_CERTIFICATE"),
            key: variables!(@ $signal, "CLIENT_KEY"),
        }
    };
    (@ $signal:literal, $name:literal) => {
        [concat!("OTEL_EXPORTER_OTLP_", $signal, "_", $name), concat!("OTEL_EXPORTER_OTLP_", $name)]
    };
}

impl Variables {
    pub(super) const METRICS: Self = variables!("/v1/metrics", "METRICS");
    pub(super) const TRACES: Self = variables!("/v1/traces", "TRACES");
}
