//! One watched platform account: what it is, how it is reached, and how gently it is asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::agents::AgentFilter;
use super::base_url::BaseUrl;
use super::duration::duration_between;
use super::problem::{Place, looks_like_a_name, looks_like_a_path};
use super::reader::{Reader, Setting, Table, choice, number_between};
use crate::ingest::platforms::{Descriptor, PLATFORMS, SettingKind};

/// Often enough to see most turns while they run, and three requests per source when nothing happens.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// Far below what platforms allow an account, so that the agents themselves are never slowed down.
const REQUESTS_PER_SECOND: f64 = 10.0;
/// Sessions followed in parallel; the request budget above still holds.
const CONCURRENCY: usize = 8;
/// A platform slower than this counts as failing, and is asked again with a backoff.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The sweep reads every list page, so it is rare; it only repairs what polling missed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// Longer than any id that a platform gives.
const LONGEST_ID: usize = 128;
/// A source's name is a label on every series.
const LONGEST_NAME: usize = 64;

/// What happens on the very first start to sessions that already exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// They become the baseline: only what happens from now on is counted.
    Now,
    /// Everything the platform still remembers is counted.
    Beginning,
    /// What happened since then is counted.
    At(Timestamp),
}

/// One validated source.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The `source` label; unique.
    pub name: String,
    /// Which API it speaks.
    pub platform: &'static Descriptor,
    /// Where that API is.
    pub base_url: BaseUrl,
    /// The key for it; a valid header value.
    pub api_key: SecretString,
    /// The platform's own settings by key, each with a value.
    pub settings: BTreeMap<&'static str, String>,
    /// Which agents are counted.
    pub agents: AgentFilter,
    /// How long between two looks at the list of sessions.
    pub poll_interval: Duration,
    /// The request budget, averaged over a second.
    pub requests_per_second: f64,
    /// Where counting begins on the first start.
    pub start: Start,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// When a request counts as failed.
    pub request_timeout: Duration,
    /// How long between two complete reconciliations.
    pub sweep_interval: Duration,
    /// Whether its sessions become spans, where spans are sent.
    pub traces: bool,
}

impl PartialEq for SourceConfig {
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a new field is not forgotten.
        let Self {
            name,
            platform,
            base_url,
            api_key,
            settings,
            agents,
            poll_interval,
            requests_per_second,
            start,
            concurrency,
            request_timeout,
            sweep_interval,
            traces,
        } = self;
        *name == other.name
            && *platform == other.platform
            && *base_url == other.base_url
            && api_key.expose_secret() == other.api_key.expose_secret()
            && *settings == other.settings
            && *agents == other.agents
            && *poll_interval == other.poll_interval
            && requests_per_second.to_bits() == other.requests_per_second.to_bits()
            && *start == other.start
            && *concurrency == other.concurrency
            && *request_timeout == other.request_timeout
            && *sweep_interval == other.sweep_interval
            && *traces == other.traces
    }
}

/// A source together with where it was written.
pub(super) struct Placed {
    pub(super) place: Place,
    pub(super) source: SourceConfig,
}

/// Reads one entry of `sources`. What is wrong is noted in the reader and stands in with a default,
/// an unusable name or key with an empty one, so that the other checks can still run.
pub(super) fn read_source(mut table: Table<'_>, reader: &mut Reader<'_>) -> Placed {
    let place = table.place(reader);
    let name_is_given = table.has("name");
    let name = table.value("name", reader, parse_name);
    if !table.has("platform") {
        let message = "missing, write which platform this is, e.g. platform: hcompany";
        reader.refuse(table.place_of("platform", reader), message);
    }
    let platforms: Vec<(&str, &'static Descriptor)> = PLATFORMS.iter().map(|it| (it.name, *it)).collect();
    let platform = table.value("platform", reader, |text| choice(text, &platforms));
    let mut source = with_defaults(platform.unwrap_or(PLATFORMS[0]));
    if name_is_given {
        source.name = name.unwrap_or_default();
    }
    let place_of_url = table.place_of("base_url", reader);
    if let Some(base_url) = table.value("base_url", reader, BaseUrl::parse) {
        remark_plain(place_of_url, &base_url, reader);
        source.base_url = base_url;
    }
    source.api_key = read_key(&mut table, reader, source.platform);
    read_pace(&mut table, reader, &mut source);
    read_own_settings(&mut table, reader, platform, &mut source);
    if let Some(start) = table.value("start", reader, parse_start) {
        source.start = start;
    }
    if let Some(mut agents) = table.table("agents", reader) {
        source.agents.allow = patterns(agents.list("allow", reader), reader);
        source.agents.deny = patterns(agents.list("deny", reader), reader);
        agents.close(reader);
    }
    let traces = |text: &str| choice(text, &[("true", true), ("false", false)]);
    if let Some(traces) = table.value("traces", reader, traces) {
        source.traces = traces;
    }
    table.close(reader);
    Placed { place, source }
}

/// What only the source's platform has; what only another one has is refused with its name.
fn read_own_settings(
    table: &mut Table<'_>,
    reader: &mut Reader<'_>,
    platform: Option<&'static Descriptor>,
    source: &mut SourceConfig,
) {
    for other in PLATFORMS {
        for setting in other.settings {
            let is_own = source.platform.settings.iter().any(|own| own.key == setting.key);
            if platform.is_none() || *other == source.platform {
                let Some(value) = table.value(setting.key, reader, |text| checked_setting(text, &setting.kind)) else {
                    continue;
                };
                if platform.is_some() {
                    source.settings.insert(setting.key, value);
                }
            } else if !is_own && table.has(setting.key) {
                let place = table.place_of(setting.key, reader);
                let _refused = table.setting(setting.key, reader);
                let message = format!("only platform {} has this setting, remove it", other.name);
                reader.refuse(place, message);
            }
        }
    }
}

/// A value of one of a platform's own settings, in the form in which the platform wants it.
pub(super) fn checked_setting(text: &str, kind: &SettingKind) -> Result<String, String> {
    match kind {
        SettingKind::OneOf(words) => {
            let words: Vec<(&str, &str)> = words.iter().map(|word| (*word, *word)).collect();
            choice(text, &words).map(str::to_owned)
        }
        SettingKind::Id => {
            let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            if text.is_empty() || text.len() > LONGEST_ID || !is_plain {
                return Err("not an id, use letters, digits, `_` and `-` as the platform shows it".into());
            }
            Ok(text.to_owned())
        }
        SettingKind::Duration(least, most) => {
            duration_between(text, least, most).map(|duration| duration.as_secs().to_string())
        }
    }
}

/// The numbers and durations that say how hard a source is asked.
fn read_pace(table: &mut Table<'_>, reader: &mut Reader<'_>, source: &mut SourceConfig) {
    let interval = |text: &str| duration_between(text, "1s", "1h");
    if let Some(interval) = table.value("poll_interval", reader, interval) {
        source.poll_interval = interval;
    }
    if let Some(rate) = table.value("requests_per_second", reader, parse_rate) {
        source.requests_per_second = rate;
    }
    let in_flight = |text: &str| number_between(text, 1, 256);
    if let Some(concurrency) = table.value("concurrency", reader, in_flight) {
        source.concurrency = concurrency;
    }
    let timeout = |text: &str| duration_between(text, "1s", "10m");
    if let Some(timeout) = table.value("request_timeout", reader, timeout) {
        source.request_timeout = timeout;
    }
    let sweep = |text: &str| duration_between(text, "1m", "7d");
    if let Some(sweep) = table.value("sweep_interval", reader, sweep) {
        source.sweep_interval = sweep;
    }
}

/// A source that nothing was said about, named after its platform and without a key.
pub(super) fn with_defaults(platform: &'static Descriptor) -> SourceConfig {
    SourceConfig {
        name: platform.name.to_owned(),
        platform,
        base_url: BaseUrl::parse(platform.base_url).expect("the default base URLs are tested"),
        api_key: SecretString::default(),
        settings: platform.settings.iter().map(|setting| (setting.key, setting.default.to_owned())).collect(),
        agents: AgentFilter::default(),
        poll_interval: POLL_INTERVAL,
        requests_per_second: REQUESTS_PER_SECOND,
        start: Start::Now,
        concurrency: CONCURRENCY,
        request_timeout: REQUEST_TIMEOUT,
        sweep_interval: SWEEP_INTERVAL,
        traces: true,
    }
}

/// Notes an address to which the key goes for everybody on the way to read.
pub(super) fn remark_plain(place: Place, base_url: &BaseUrl, reader: &mut Reader<'_>) {
    if base_url.is_in_the_clear() {
        let message = "over http:// the key goes to another machine in the clear, write https:// if the server can";
        reader.remark(place, message);
    }
}

/// The ways to give a key, of which a source has one.
const KEYS: [&str; 3] = ["api_key", "api_key_file", "api_key_command"];

/// The key itself, the file that holds it or the command that prints it; empty after a problem.
fn read_key(table: &mut Table<'_>, reader: &mut Reader<'_>, platform: &Descriptor) -> SecretString {
    let variable = platform.key_variables.first().copied().unwrap_or("API_KEY");
    let given: Vec<&str> = KEYS.into_iter().filter(|key| table.has(key)).collect();
    let place = table.place_of("api_key", reader);
    let key = table.setting("api_key", reader);
    let file = table.setting("api_key_file", reader);
    let place_of_command = table.place_of("api_key_command", reader);
    let command = table.list("api_key_command", reader);
    match given[..] {
        [_] => {}
        [] => {
            let message = format!("missing, write api_key: ${{{variable}}} or api_key_file: /run/secrets/api_key");
            reader.refuse(place, message);
        }
        [first, second] => {
            reader.refuse(place, format!("both {first} and {second} are given, keep one"));
            return SecretString::default();
        }
        _ => {
            reader.refuse(place, format!("{} are given, keep one", given.join(", ")));
            return SecretString::default();
        }
    }
    if let Some(key) = key {
        reader.holds_secret(&key);
        let shown = key.variable.map(|name| format!("${{{name}}}: ")).unwrap_or_default();
        return checked_key(key.place, key.value, &shown, reader);
    }
    if let Some(file) = file {
        return read_key_file(file, reader);
    }
    command.map(|words| run_key_command(place_of_command, words, reader)).unwrap_or_default()
}

fn run_key_command(place: Place, words: Vec<Setting>, reader: &mut Reader<'_>) -> SecretString {
    for word in &words {
        // Everybody on the machine can see the arguments of what runs there.
        reader.publish(word);
    }
    let Some(program) = words.first().filter(|program| !program.value.is_empty()) else {
        reader.refuse(place, "no command, write a list of words, e.g. [\"vault\", \"kv\", \"get\", ...]");
        return SecretString::default();
    };
    // People do put the key itself here.
    let is_named = program.literal && (looks_like_a_path(&program.value) || looks_like_a_name(&program.value));
    let shown = if is_named { format!("{}: ", program.value) } else { String::new() };
    let Some(commands) = reader.commands else {
        return SecretString::default();
    };
    let words: Vec<String> = words.into_iter().map(|word| word.value).collect();
    match commands(&words) {
        Ok(printed) => {
            let shown = format!("{shown}in what the command printed: ");
            checked_key(place, printed.trim().to_owned(), &shown, reader)
        }
        Err(error) => {
            reader.refuse(place, format!("{shown}the command {error}"));
            SecretString::default()
        }
    }
}

fn read_key_file(file: Setting, reader: &mut Reader<'_>) -> SecretString {
    // People do put the key itself here.
    let shown =
        if file.literal && looks_like_a_path(&file.value) { format!("{}: ", file.value) } else { String::new() };
    match (reader.files)(Path::new(&file.value)) {
        Ok(key) => {
            reader.look_at_secret(&file);
            checked_key(file.place, key.trim().to_owned(), &shown, reader)
        }
        Err(error) => {
            let message = format!("{shown}cannot read the key file: {error}");
            reader.refuse(file.place, message);
            SecretString::default()
        }
    }
}

/// Refuses keys that no request could carry.
pub(super) fn checked_key(place: Place, key: String, shown: &str, reader: &mut Reader<'_>) -> SecretString {
    if key.is_empty() {
        reader.refuse(place, format!("{shown}the API key is empty"));
        return SecretString::default();
    }
    if !key.chars().all(|c| c.is_ascii_graphic()) {
        let message = "the API key contains a space, a line break or a letter outside ASCII";
        reader.refuse(place, format!("{shown}{message}; is it more than the key?"));
        return SecretString::default();
    }
    SecretString::from(key)
}

/// Two sources of one name would write the same series, two on one account count everything twice.
pub(super) fn refuse_twins(sources: &[Placed], reader: &mut Reader<'_>) {
    for (index, later) in sources.iter().enumerate() {
        let earlier = &sources[..index];
        let same_name = |other: &&Placed| other.source.name == later.source.name;
        let named = !later.source.name.is_empty();
        if let Some(twin) = earlier.iter().find(same_name).filter(|_| named) {
            let message = format!(
                "has the same name as the source on line {}; give each source a `name` of its own",
                twin.place.line()
            );
            reader.refuse(later.place.clone(), message);
        }
        let key = later.source.api_key.expose_secret();
        let same_account = |other: &&Placed| {
            other.source.base_url == later.source.base_url
                && other.source.api_key.expose_secret() == key
                && tells_apart(&other.source) == tells_apart(&later.source)
        };
        if let Some(twin) = earlier.iter().find(same_account).filter(|_| !key.is_empty()) {
            let message = format!(
                "watches the same account as the source on line {}, which would count it twice; \
                 keep one of them",
                twin.place.line()
            );
            reader.refuse(later.place.clone(), message);
        }
    }
}

/// The settings by which one key watches different accounts.
fn tells_apart(source: &SourceConfig) -> Vec<Option<&String>> {
    let settings = source.platform.settings.iter().filter(|setting| setting.tells_accounts_apart);
    settings.map(|setting| source.settings.get(setting.key)).collect()
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if text.is_empty() || text.len() > LONGEST_NAME || !is_plain {
        return Err(format!("not a name for a label, use 1 to {LONGEST_NAME} letters, digits, `_`, `-` or `.`"));
    }
    Ok(text.to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| *rate > 0.0 && *rate <= 1000.0)
        .ok_or_else(|| "not a rate, use a number above 0 and up to 1000, e.g. 10 or 0.5".into())
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "now" => Ok(Start::Now),
        "beginning" => Ok(Start::Beginning),
        _ => text
            .parse()
            .map(Start::At)
            .map_err(|_| "not a start, use now, beginning or a time with its zone, e.g. 2026-01-31T00:00:00Z".into()),
    }
}

fn patterns(settings: Option<Vec<Setting>>, reader: &mut Reader<'_>) -> Vec<String> {
    let mut patterns = Vec::new();
    for setting in settings.unwrap_or_default() {
        reader.publish(&setting);
        if setting.value.is_empty() {
            reader.refuse(setting.place, "an empty pattern matches no agent, remove it");
            continue;
        }
        patterns.push(setting.value);
    }
    patterns
}
