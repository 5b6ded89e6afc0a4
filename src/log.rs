//! What is logged: lines for people, or JSON for programs, on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use parcelry_core::name::printable;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::progress::plain_json;

/// The environment variable by which systemd names its journal's socket.
const JOURNAL: &str = "JOURNAL_STREAM";

/// Sends what is logged to stderr: of this level, unless the environment variable `PARCELRY_LOG` asks for another.
pub fn start(level: &str, as_json: bool) {
    let filter = EnvFilter::try_from_env("PARCELRY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let stderr = io::stderr();
    let coloured = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    let layer = if as_json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(|| Plain)
            .boxed()
    } else {
        let fields = debug_fn(|out, field, value| write_field(out, field.name(), value)).delimited(" ");
        let layer = layer.with_ansi(coloured).fmt_fields(fields).with_writer(io::stderr);
        if is_journal(&stderr) { layer.without_time().boxed() } else { layer.boxed() }
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
}

/// Whether what is logged goes to systemd's journal, which notes the time itself.
fn is_journal(stderr: &io::Stderr) -> bool {
    let Ok(journal) = std::env::var(JOURNAL) else { return false };
    rustix::fs::fstat(stderr).is_ok_and(|stat| journal == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Standard error for JSON, whose strings hold nothing that could act on a terminal.
struct Plain;

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(plain_json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Writes a field of a log entry: its message as it is, others with their names.
fn write_field(out: &mut Writer<'_>, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
    let value = printable(&format!("{value:?}"));
    if name == "message" { write!(out, "{value}") } else { write!(out, "{name}={value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_what_is_logged_is_escaped_and_stays_one_line() {
        let mut text = String::new();
        let mut out = Writer::new(&mut text);
        write_field(&mut out, "message", &format_args!("from \u{1b}[2J\u{202e}\nforged")).unwrap();
        write_field(&mut out, "name", &"Ü\u{9b}").unwrap();
        assert_eq!(text, "from \\u{1b}[2J\\u{202e}\\nforgedname=\"Ü\\u{9b}\"");
    }
}
