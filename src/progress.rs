//! What the user sees: bars for people, lines for pipes and logs, JSON events for programs.
//!
//! The result of a command is the only thing on stdout; all else goes to stderr. With `--json`, stdout
//! carries events (one JSON object a line) or one document, and nothing else.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::words;

const LINE_EVERY: Duration = Duration::from_secs(10);
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// How to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For people and logs: bars on a terminal, lines elsewhere.
    Text,
    /// For programs: JSON on stdout.
    Json,
    /// Errors and results only.
    Quiet,
}

/// Where a command reports what it does.
#[derive(Debug, Clone)]
pub struct Progress {
    style: Style,
    bars: bool,
    /// The bar on screen, so that lines are printed above it.
    bar: Arc<Mutex<Option<ProgressBar>>>,
    warnings: Arc<Mutex<u64>>,
}

/// A stage of work that is under way, measured in bytes.
#[derive(Debug)]
pub struct Stage {
    progress: Progress,
    name: &'static str,
    total_bytes: u64,
    bar: Option<ProgressBar>,
    state: Mutex<StageState>,
}

#[derive(Debug)]
struct StageState {
    done_bytes: u64,
    skipped_bytes: u64,
    note: String,
    started: Instant,
    reported: Instant,
}

impl Progress {
    /// Reports in this style.
    pub fn new(style: Style) -> Self {
        let bars = style == Style::Text && std::io::stderr().is_terminal();
        Self { style, bars, bar: Arc::default(), warnings: Arc::default() }
    }

    /// Reports errors and warnings only, whatever stderr is.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { style: Style::Quiet, bars: false, bar: Arc::default(), warnings: Arc::default() }
    }

    /// Whether events and documents are asked for.
    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// Begins a stage of `total_bytes`.
    pub fn stage(&self, name: &'static str, total_bytes: u64) -> Stage {
        let bar = self.bars.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
            let template = "{prefix} {bar:30} {percent:>3} % {decimal_bytes}/{decimal_total_bytes} \
                            {decimal_bytes_per_sec}, {eta} left {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        self.bar.lock().clone_from(&bar);
        let now = Instant::now();
        let state =
            StageState { done_bytes: 0, skipped_bytes: 0, note: String::new(), started: now, reported: now };
        Stage { progress: self.clone(), name, total_bytes, bar, state: Mutex::new(state) }
    }

    /// Tells what is going on.
    pub fn say(&self, text: &str) {
        match self.style {
            Style::Text => self.line(text),
            Style::Json => self.event("status", json!({ "message": text })),
            Style::Quiet => {}
        }
    }

    /// Tells of something that went wrong without ending the command.
    pub fn warn(&self, text: &str) {
        *self.warnings.lock() += 1;
        match self.style {
            Style::Json => self.event("warning", json!({ "message": text })),
            Style::Text | Style::Quiet => self.line(&format!("warning: {text}")),
        }
    }

    /// How often it warned.
    pub fn warnings(&self) -> u64 {
        *self.warnings.lock()
    }

    /// Prints the result: the one thing on stdout.
    pub fn result(&self, text: &str) {
        if self.style != Style::Json {
            self.suspended(|| write_line(&mut std::io::stdout(), text));
        }
    }

    /// Prints one JSON document, the whole answer of a short command with `--json`.
    pub fn document(&self, document: &Value) {
        write_line(&mut std::io::stdout(), &format!("{document:#}"));
    }

    /// Ends a long command: a sentence for people, the fields for programs.
    pub fn summary(&self, text: &str, fields: Value) {
        match self.style {
            Style::Text => self.line(text),
            Style::Json => self.event("summary", fields),
            Style::Quiet => {}
        }
    }

    /// Emits an event; only with `--json`.
    pub fn event(&self, kind: &str, fields: Value) {
        if self.style == Style::Json {
            let mut event = json!({ "type": kind });
            if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
                event.extend(fields);
            }
            write_line(&mut std::io::stdout(), &event.to_string());
        }
    }

    /// Reports the failure that ends a command.
    pub fn fail(&self, failure: &Failure) {
        let fields = json!({ "kind": failure.kind.word(), "exit_code": failure.kind as u8,
            "message": failure.what, "next": failure.next });
        self.event("error", fields);
        self.line(&format!("error: {}", failure.what));
        if let Some(next) = &failure.next {
            self.line(next);
        }
    }

    fn line(&self, text: &str) {
        self.suspended(|| write_line(&mut std::io::stderr(), text));
    }

    fn suspended(&self, print: impl FnOnce()) {
        let bar = self.bar.lock().clone();
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Stage {
    /// Notes that this many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.done_bytes += bytes;
        self.report(&mut state);
    }

    /// Notes that this many bytes need not be done.
    pub fn skip(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.done_bytes += bytes;
        state.skipped_bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(state.done_bytes);
            bar.reset_eta();
        }
    }

    /// Takes back bytes that have to be done again.
    pub fn retreat(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.done_bytes = state.done_bytes.saturating_sub(bytes);
        self.report(&mut state);
    }

    /// Shows a note at the end of the bar or line, as in `2 peers`.
    pub fn note(&self, note: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(note.clone());
        }
        self.state.lock().note = note;
    }

    fn report(&self, state: &mut StageState) {
        if let Some(bar) = &self.bar {
            bar.set_position(state.done_bytes.min(self.total_bytes));
            return;
        }
        let every = if self.progress.is_json() { EVENT_EVERY } else { LINE_EVERY };
        if state.reported.elapsed() < every {
            return;
        }
        state.reported = Instant::now();
        match self.progress.style {
            Style::Json => self.progress.event("status", self.status(state)),
            Style::Text => self.progress.line(&self.sentence(state)),
            Style::Quiet => {}
        }
    }

    fn status(&self, state: &StageState) -> Value {
        json!({ "stage": self.name, "done_bytes": state.done_bytes, "total_bytes": self.total_bytes,
            "skipped_bytes": state.skipped_bytes, "note": state.note })
    }

    fn sentence(&self, state: &StageState) -> String {
        let moved = state.done_bytes.saturating_sub(state.skipped_bytes).max(1);
        let seconds = state.started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown to two digits")]
        let rate = moved as f64 / seconds.max(0.001);
        let left_bytes = self.total_bytes.saturating_sub(state.done_bytes);
        #[expect(clippy::cast_precision_loss, reason = "shown to two digits")]
        let left = Duration::from_secs_f64((left_bytes as f64 / rate).min(1e9));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and small"
        )]
        let rate = words::bytes(rate as u64);
        let percent = (state.done_bytes.saturating_mul(100)).checked_div(self.total_bytes).unwrap_or(100);
        let (done, total) = (words::bytes(state.done_bytes), words::bytes(self.total_bytes));
        let left = words::duration(left);
        format!("{}: {percent} % ({done} of {total}), {rate}/s, {left} left {}", self.name, state.note)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let state = self.state.lock();
        if let Some(bar) = self.progress.bar.lock().take() {
            bar.finish_and_clear();
        }
        if self.progress.is_json() {
            self.progress.event("status", self.status(&state));
        }
    }
}

/// A closed pipe at the other end is no reason to panic.
fn write_line(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
