//! The landing page: how the sources are doing right now, for people; complete in itself, and without scripts.

use std::fmt::{self, Write};

use super::route;
use super::{About, App};
use crate::domain::{SourceIx, Span, Timestamp};
use crate::projection::{Metric, Snapshot};
use crate::telemetry::{SourceHealth, Trouble};

/// Seconds after which the page loads itself again.
const REFRESH: u32 = 10;

const STYLE: &str = include_str!("page.css");
const FITS: &str = "a string takes everything";

/// Text that others chose, made safe between tags and in quoted attributes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A count with its thousands apart.
struct Count(usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_str(",")?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// How long ago, as far as anybody wants to know.
struct Ago {
    at: Option<Timestamp>,
    now: Timestamp,
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(at) = self.at else { return f.write_str("never") };
        // A platform's clock may be ahead of ours.
        let seconds = self.now.since(at).unwrap_or(Span::ZERO).micros() / 1_000_000;
        match seconds {
            0 => f.write_str("just now"),
            1..120 => write!(f, "{seconds} s ago"),
            120..7200 => write!(f, "{} min ago", seconds / 60),
            7200..172_800 => write!(f, "{} h ago", seconds / 3600),
            _ => write!(f, "{} days ago", seconds / 86_400),
        }
    }
}

/// A row of the table.
struct Line {
    health: SourceHealth,
    newest_event: Option<Timestamp>,
    active: usize,
    settled: usize,
}

impl Line {
    fn of(health: SourceHealth, snapshot: &Snapshot) -> Self {
        let place = snapshot.sources.iter().position(|source| source.name == health.name);
        let source = place.map(|place| &snapshot.sources[place]);
        Self {
            newest_event: place.and_then(|place| watermark(snapshot, place)),
            active: source.map_or(0, |source| source.active),
            settled: source.map_or(0, |source| source.settled),
            health,
        }
    }

    fn state(&self) -> (&'static str, &'static str) {
        match self.health.up {
            Some(true) => ("good", "✓ up"),
            Some(false) => ("bad", "✗ down"),
            None => ("wait", "… starting"),
        }
    }
}

fn watermark(snapshot: &Snapshot, place: usize) -> Option<Timestamp> {
    let source = SourceIx(u16::try_from(place).ok()?);
    let family = snapshot.family(Metric::EventWatermark)?;
    let index = family.heads().iter().position(|head| head.key.source == source)?;
    let micros = i64::try_from(family.value(index)).ok().filter(|micros| *micros > 0)?;
    Some(Timestamp::from_micros(micros))
}

/// The page.
pub(super) fn page(app: &App) -> String {
    let now = app.clock.now();
    let snapshot = app.snapshot.load();
    let lines: Vec<Line> = app.health.sources().into_iter().map(|health| Line::of(health, &snapshot)).collect();
    let mut out = begin("agent-session-exporter", Some(REFRESH));
    write!(
        out,
        "<header><h1>agent-session-exporter</h1><span class=soft>version {} · revision <code>{}</code></span></header>\
         <p class=soft>What AI-agent sessions do on managed platforms, as Prometheus metrics.</p>",
        Escaped(&app.about.version),
        Escaped(&app.about.revision),
    )
    .expect(FITS);
    if app.about.simulated {
        out.push_str(
            "<p class=\"note wait\"><strong>Simulated data.</strong> The platforms behind these numbers are simulated; \
             no real session is shown.</p>",
        );
    }
    match app.health.ready(now) {
        Ok(()) => {}
        Err(reason) => {
            let reason = reason.to_string();
            write!(out, "<p class=\"note wait\"><strong>Not ready yet:</strong> {}</p>", Escaped(&reason)).expect(FITS);
        }
    }
    for trouble in app.health.troubles() {
        out.push_str(match trouble {
            Trouble::Store => {
                "<p class=\"note bad\"><strong>The latest commit to the store failed:</strong> what is shown stands \
                 still until one succeeds. The log says why.</p>"
            }
            Trouble::Configuration => {
                "<p class=\"note bad\"><strong>The latest configuration was refused:</strong> the one from before goes \
                 on. The log says why.</p>"
            }
            Trouble::WebConfiguration => {
                "<p class=\"note bad\"><strong>The latest web configuration was refused:</strong> the one from before \
                 goes on. The log says why.</p>"
            }
        });
    }
    figures(&mut out, &lines);
    sources(&mut out, &lines, now);
    links(&mut out, &app.about);
    let second = Timestamp::from_micros(now.micros() / 1_000_000 * 1_000_000);
    write!(out, "<footer class=soft>As of {second}; this page loads itself again every {REFRESH} s.</footer>")
        .expect(FITS);
    end(out)
}

fn figures(out: &mut String, lines: &[Line]) {
    let up = lines.iter().filter(|line| line.health.up == Some(true)).count();
    let sum = |pick: fn(&Line) -> usize| Count(lines.iter().map(pick).sum());
    write!(
        out,
        "<dl class=figures><div><dt>Sources up</dt><dd>{up} of {}</dd></div>\
         <div><dt>Active sessions</dt><dd>{}</dd></div><div><dt>Settled sessions</dt><dd>{}</dd></div></dl>",
        lines.len(),
        sum(|line| line.active),
        sum(|line| line.settled),
    )
    .expect(FITS);
}

fn sources(out: &mut String, lines: &[Line], now: Timestamp) {
    out.push_str(
        "<h2>Sources</h2><div class=scroll><table><thead><tr><th>Source<th>Platform<th>Status<th>Last success\
         <th title=\"How far the numbers lag behind, as long as anything happens on the platform\">Newest event\
         <th class=number>Active<th class=number>Settled</tr></thead><tbody>",
    );
    if lines.is_empty() {
        out.push_str("<tr><td colspan=7 class=soft>No sources are configured.</td></tr>");
    }
    for line in lines {
        let (class, word) = line.state();
        write!(
            out,
            "<tr><td class=name>{}<td>{}<td><span class=\"state {class}\">{word}</span>",
            Escaped(&line.health.name),
            Escaped(&line.health.platform),
        )
        .expect(FITS);
        if let Some(problem) = &line.health.problem {
            write!(out, "<span class=problem>{}</span>", Escaped(problem)).expect(FITS);
        } else if let Some(problem) = &line.health.unread {
            write!(out, "<span class=problem>sessions cannot be read: {}</span>", Escaped(problem)).expect(FITS);
        }
        write!(
            out,
            "<td>{}<td>{}<td class=number>{}<td class=number>{}</tr>",
            Ago { at: line.health.newest_success(), now },
            Ago { at: line.newest_event, now },
            Count(line.active),
            Count(line.settled),
        )
        .expect(FITS);
    }
    out.push_str("</tbody></table></div>");
}

fn links(out: &mut String, about: &About) {
    out.push_str("<h2>Where to go</h2><div class=scroll><table class=links>");
    for (path, what) in route::listed(about) {
        write!(
            out,
            "<tr><td><a href=\"{0}\"><code>{0}</code></a><td class=what>{1}</tr>",
            Escaped(path),
            Escaped(what)
        )
        .expect(FITS);
    }
    out.push_str("</table></div>");
}

/// The page for paths that there are not.
pub(super) fn not_found(about: &About) -> String {
    let mut out = begin("Not found · agent-session-exporter", None);
    out.push_str("<h1>Not found</h1><p class=soft>There is nothing at this path.</p>");
    links(&mut out, about);
    end(out)
}

fn begin(title: &str, refresh: Option<u32>) -> String {
    let mut out = String::with_capacity(8192);
    out.push_str("<!doctype html><html lang=en><head><meta charset=utf-8>");
    out.push_str("<meta name=viewport content=\"width=device-width, initial-scale=1\">");
    if let Some(seconds) = refresh {
        write!(out, "<meta http-equiv=refresh content={seconds}>").expect(FITS);
    }
    write!(out, "<link rel=icon href=\"data:,\"><title>{}</title><style>{STYLE}</style></head>", Escaped(title))
        .expect(FITS);
    out.push_str("<body><main>");
    out
}

fn end(mut out: String) -> String {
    out.push_str("</main></body></html>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_stay_texts() {
        let nasty = Escaped("<script>alert('x & \"y\"')</script>").to_string();
        assert_eq!(nasty, "&lt;script&gt;alert(&#39;x &amp; &quot;y&quot;&#39;)&lt;/script&gt;");
    }

    #[test]
    fn ages_are_rounded_to_what_matters() {
        let now = Timestamp::parse("2026-11-20T14:30:00Z").unwrap();
        let ago = |seconds| Ago { at: Some(now.minus(Span::from_secs(seconds))), now }.to_string();
        assert_eq!([ago(0), ago(5), ago(119), ago(120)], ["just now", "5 s ago", "119 s ago", "2 min ago"]);
        assert_eq!([ago(7199), ago(7200), ago(200_000)], ["119 min ago", "2 h ago", "2 days ago"]);
        assert_eq!(Ago { at: None, now }.to_string(), "never");
        let ahead = now.plus(Span::from_secs(9));
        assert_eq!(Ago { at: Some(ahead), now }.to_string(), "just now");
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        let shown = [0, 7, 999, 1000, 1_234_567].map(|count| Count(count).to_string());
        assert_eq!(shown, ["0", "7", "999", "1,000", "1,234,567"]);
    }
}
