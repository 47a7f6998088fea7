//! What the command line says of itself: completions for shells and pages for man, from the definition that also parses.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  agent-session-exporter completions bash > /etc/bash_completion.d/agent-session-exporter
  agent-session-exporter completions zsh > ~/.zfunc/_agent-session-exporter
  agent-session-exporter completions fish > ~/.config/fish/completions/agent-session-exporter.fish

Exit codes:
  0  written
  1  it could not be written
  2  the command line is wrong";

const MAN_EXAMPLES: &str = "\
Examples:
  agent-session-exporter man --out /usr/local/share/man/man1
  agent-session-exporter man | man -l -

Exit codes:
  0  written
  1  a page could not be written
  2  the command line is wrong";

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell that completes
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// Directory for one page per command, created if missing [default: only the first page, to standard output]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A page for man.
#[derive(Debug)]
pub struct Page {
    /// How its file must be called.
    pub file: String,
    /// The page itself, in roff.
    pub text: String,
}

/// What `shell` has to read in order to complete.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut root = Cli::command();
    let name = root.get_name().to_owned();
    clap_complete::generate(shell, &mut root, &name, &mut script);
    let script = String::from_utf8(script).expect("clap's texts are text");
    // For bash clap_complete 4.6 spells a program with hyphens in two ways, and then nothing is found below a command.
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

/// The page of the program, then one for each command.
pub fn pages() -> Vec<Page> {
    // `help` says what the pages say.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    std::iter::once(page(&root, &root)).chain(root.get_subcommands().map(|command| page(command, &root))).collect()
}

fn page(command: &Command, root: &Command) -> Page {
    let source = format!("{} {}", root.get_name(), env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source);
    let file = man.get_filename();
    let mut text = Vec::new();
    man.render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| if command.has_subcommands() { man.render_subcommands_section(&mut text) } else { Ok(()) })
        .and_then(|()| {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut roff = sections(&after);
            if !command.has_subcommands() {
                roff.control("SH", ["SEE ALSO"]).text([bold(root.get_name()), roman("(1)")]);
            }
            roff.to_writer(&mut text)
        })
        .expect("a vector takes everything");
    Page { file, text: String::from_utf8(text).expect("clap's texts are text") }
}

/// What stands below the options in `--help`: headings over indented lines, which must stay lines, and paragraphs.
fn sections(after_help: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in after_help.split("\n\n") {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let lines = match first.strip_suffix(':') {
            Some(heading) if rest.starts_with("  ") => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                rest
            }
            _ => {
                roff.control("PP", []);
                paragraph
            }
        };
        if lines.starts_with("  ") {
            roff.control("nf", []);
            lines.lines().for_each(|line| {
                roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            });
            roff.control("fi", []);
        } else {
            roff.text([roman(lines.replace('\n', " "))]);
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let files: Vec<String> = pages().into_iter().map(|page| page.file).collect();
        let root = Cli::command();
        let commands = root.get_subcommands().map(|command| format!("agent-session-exporter-{}.1", command.get_name()));
        let expected: Vec<String> = std::iter::once("agent-session-exporter.1".to_owned()).chain(commands).collect();
        assert_eq!(files, expected);
        assert!(expected.len() > 8);
    }

    #[test]
    fn lines_below_the_options_stay_lines() {
        let after = "Examples:\n  program -x\n  .hidden\n\nSome words,\nand more.\n\nExit codes:\n  0  done";
        let expected = [
            ".SH EXAMPLES",
            ".nf",
            r"program \-x",
            r"\&.hidden",
            ".fi",
            ".PP",
            "Some words, and more.",
            r#".SH "EXIT CODES""#,
            ".nf",
            "0  done",
            ".fi",
        ];
        assert_eq!(sections(after).to_roff().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn completions_know_every_command() {
        for shell in Shell::value_variants() {
            let script = completions(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(script.contains("web.listen-address"), "{shell}");
        }
    }
}
