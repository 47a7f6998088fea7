//! One signal's destination, put together from everything that was said about it.

use std::time::Duration;

use secrecy::SecretString;

use super::said::{Said, Variables};
use super::text::{self, checked, compression, decoded_pairs, protocol, variable, yes_or_no};
use super::{OtlpDestination, OtlpProtocol, TIMEOUT};
use crate::config::base_url::BaseUrl;
use crate::config::problem::Place;
use crate::config::reader::{Reader, Setting};
use crate::config::trust;
use crate::tls::Trust;

/// `None` where there is no endpoint, or none that can be used: that is noted then.
pub(super) fn resolve(
    signal: &Said,
    general: &Said,
    variables: Variables,
    reader: &mut Reader<'_>,
) -> Option<OtlpDestination> {
    let (endpoint, is_whole) = endpoint(signal, general, variables, reader)?;
    let protocol = signal.protocol.or(general.protocol).or_else(|| from(variables.protocol, reader, protocol));
    let protocol = protocol.unwrap_or(OtlpProtocol::Http);
    let url = match protocol {
        OtlpProtocol::Http => over_http(&endpoint.value).map(|url| match is_whole {
            true => url,
            false => format!("{url}{}", variables.path),
        }),
        OtlpProtocol::Grpc => {
            // What the file says is secured stays so, whatever somebody has put into the environment.
            let is_variable = matches!(endpoint.place, Place::Outside(_));
            let insecure = is_variable && from(variables.insecure, reader, yes_or_no).unwrap_or(false);
            over_grpc(&endpoint.value, insecure)
        }
    };
    let place = endpoint.place.clone();
    let url = match url {
        Ok(url) => Some(url),
        Err(message) => {
            reader.refuse_once(endpoint.place, message);
            None
        }
    };
    // All of it is looked at, also when the endpoint is wrong: every problem at once.
    let headers = signal.headers.as_ref().or(general.headers.as_ref()).cloned();
    let headers = headers.unwrap_or_else(|| headers_from(variables.headers, reader));
    refuse_binary(protocol, &headers, signal, general, variables, reader);
    if let Some(url) = &url
        && !headers.is_empty()
        && BaseUrl::parse(url).is_ok_and(|url| url.is_in_the_clear())
    {
        let message = "over http:// headers go to another machine in the clear, write https:// if the collector can";
        reader.remark(place, message);
    }
    let timeout = signal.timeout.or(general.timeout);
    let timeout: Option<Duration> = timeout.or_else(|| from(variables.timeout, reader, text::milliseconds));
    let gzip = signal.gzip.or(general.gzip).or_else(|| from(variables.compression, reader, compression));
    let trust = trust(signal, general, variables, reader);
    Some(OtlpDestination {
        url: url?,
        protocol,
        headers,
        timeout: timeout.unwrap_or(TIMEOUT),
        gzip: gzip.unwrap_or(false),
        trust,
    })
}

/// The first that is said, and whether it is the signal's own: that is taken as it is, the general one gets a path.
fn endpoint(signal: &Said, general: &Said, variables: Variables, reader: &Reader<'_>) -> Option<(Setting, bool)> {
    let [of_signal, of_all] = variables.endpoint;
    let whole = |setting: Setting| (setting, true);
    let below = |setting: Setting| (setting, false);
    let file = signal.endpoint.clone().map(whole).or_else(|| general.endpoint.clone().map(below));
    file.or_else(|| variable(of_signal, reader).map(whole)).or_else(|| variable(of_all, reader).map(below))
}

fn over_http(text: &str) -> Result<String, String> {
    let url = BaseUrl::parse(text);
    url.map(|url| url.as_str().to_owned())
        .map_err(|_| "not an http or https URL, use e.g. http://localhost:4318".to_owned())
}

fn over_grpc(text: &str, insecure: bool) -> Result<String, String> {
    let with_scheme = match (text.contains("://"), insecure) {
        (true, _) => text.to_owned(),
        (false, true) => format!("http://{text}"),
        (false, false) => format!("https://{text}"),
    };
    let url = BaseUrl::parse(&with_scheme)
        .map_err(|_| "not an address for gRPC, use e.g. http://localhost:4317 or collector.example:4317".to_owned())?;
    let (_, behind) = url.as_str().split_once("://").unwrap_or_default();
    if behind.contains('/') {
        return Err("over gRPC an endpoint has no path, use e.g. http://localhost:4317".to_owned());
    }
    Ok(url.as_str().to_owned())
}

/// The signal's variable, else the general one; only the one that counts is looked at.
fn chosen([of_signal, of_all]: [&'static str; 2], reader: &Reader<'_>) -> Option<Setting> {
    variable(of_signal, reader).or_else(|| variable(of_all, reader))
}

fn from<T>(
    names: [&'static str; 2],
    reader: &mut Reader<'_>,
    convert: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let setting = chosen(names, reader)?;
    checked(setting, reader, convert)
}

fn headers_from(names: [&'static str; 2], reader: &mut Reader<'_>) -> Vec<(String, SecretString)> {
    chosen(names, reader).map(|setting| decoded_pairs(&setting, reader)).unwrap_or_default()
}

/// gRPC takes names that end so for bytes in base64.
fn refuse_binary(
    protocol: OtlpProtocol,
    headers: &[(String, SecretString)],
    signal: &Said,
    general: &Said,
    variables: Variables,
    reader: &mut Reader<'_>,
) {
    let is_binary = headers.iter().any(|(name, _)| name.to_ascii_lowercase().ends_with("-bin"));
    if protocol == OtlpProtocol::Grpc && is_binary {
        let in_file = signal.headers_place.as_ref().or(general.headers_place.as_ref()).cloned();
        let place = in_file.or_else(|| chosen(variables.headers, reader).map(|setting| setting.place));
        let place = place.unwrap_or(Place::Outside(variables.headers[1]));
        reader.refuse_once(place, "over gRPC no header's name may end in -bin");
    }
}

fn trust(signal: &Said, general: &Said, variables: Variables, reader: &mut Reader<'_>) -> Trust {
    let pick = |said: fn(&Said) -> &Option<Setting>, names, reader: &Reader<'_>| {
        said(signal).clone().or_else(|| said(general).clone()).or_else(|| chosen(names, reader))
    };
    let authorities = pick(|said| &said.authorities, variables.authorities, reader);
    let certificate = pick(|said| &said.certificate, variables.certificate, reader);
    let key = pick(|said| &said.key, variables.key, reader);
    trust::read(authorities, certificate, key, reader)
}
