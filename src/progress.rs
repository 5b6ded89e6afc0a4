//! What the user sees: bars for people, lines for pipes and logs, JSON events for programs.
//!
//! The result of a command is the only thing on stdout; all else goes to stderr. With `--json`, stdout
//! carries events (one JSON object a line) or one document, and nothing else.
//!
//! Names, addresses and errors come from other parties and from file systems, so what could act on a terminal is
//! escaped here, where everything passes. One call prints one line: a line break within a text is escaped, too,
//! lest it forges a line of its own.

mod bar;
mod events;
mod rate;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use parcelry_core::limits::LINE_CHARS_MAX;
use parcelry_core::name::{acts_on_terminal, printable};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::human;
use bar::Bar;
use events::{ErrorEvent, Said, StageStatus};
use rate::{Rate, time_left};

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
    /// The bars of the stages that are under way: the last one is on screen, and lines are printed above it.
    stages: Arc<Mutex<Vec<(Mark, ProgressBar)>>>,
    warnings: Arc<Mutex<u64>>,
    /// Why something that belongs on stdout is not there.
    unwritten: Arc<Mutex<Option<io::Error>>>,
}

/// Tells a stage from all others.
type Mark = Arc<()>;

/// A stage of work that is under way, measured in bytes. What is done in several copies is shown once.
#[derive(Debug)]
pub struct Stage {
    progress: Progress,
    name: &'static str,
    total_bytes: u64,
    copies: u64,
    state: Mutex<StageState>,
    mark: Mark,
}

#[derive(Debug)]
struct StageState {
    /// Of all copies.
    done_bytes: u64,
    /// Of all copies, those that needed not be done.
    skipped_bytes: u64,
    note: String,
    rate: Rate,
    reported: Instant,
    bar: Option<Bar>,
}

impl Progress {
    /// Reports in this style.
    pub fn new(style: Style) -> Self {
        let bars = style == Style::Text && std::io::stderr().is_terminal();
        Self { style, bars, stages: Arc::default(), warnings: Arc::default(), unwritten: Arc::default() }
    }

    /// Reports errors and warnings only, whatever stderr is.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::new(Style::Quiet)
    }

    /// Whether events and documents are asked for.
    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// Begins a stage of `total_bytes`. One that is under way waits for its end.
    pub fn stage(&self, name: &'static str, total_bytes: u64) -> Stage {
        self.stage_of_copies(name, total_bytes, 1)
    }

    /// Begins a stage of so many copies of `total_bytes`: what advances it are bytes of any of them.
    pub fn stage_of_copies(&self, name: &'static str, total_bytes: u64, copies: u64) -> Stage {
        let bar = self.bars.then(|| Bar::new(name, total_bytes));
        let mark = Mark::default();
        if let Some(bar) = &bar {
            let mut stages = self.stages.lock();
            stages.last().iter().for_each(|(_, outer)| outer.finish_and_clear());
            stages.push((Arc::clone(&mark), bar.shown.clone()));
        }
        let (now, note) = (Instant::now(), String::new());
        let state =
            StageState { done_bytes: 0, skipped_bytes: 0, note, rate: Rate::since(now), reported: now, bar };
        Stage {
            progress: self.clone(),
            name,
            total_bytes,
            copies: copies.max(1),
            state: Mutex::new(state),
            mark,
        }
    }

    /// Tells what is going on.
    pub fn say(&self, text: &str) {
        match self.style {
            Style::Text => self.line(text),
            Style::Json => self.event("status", Said { message: text }),
            Style::Quiet => {}
        }
    }

    /// Tells of something that went wrong without ending the command.
    pub fn warn(&self, text: &str) {
        *self.warnings.lock() += 1;
        match self.style {
            Style::Json => self.event("warning", Said { message: text }),
            Style::Text | Style::Quiet => self.line(&format!("warning: {text}")),
        }
    }

    /// Names an entry that is not shared, or not saved, and why; one of the warnings.
    pub fn left_out(&self, path: &str, why: &str) {
        *self.warnings.lock() += 1;
        match self.style {
            Style::Json => self.event("left_out", json!({ "path": path, "why": why })),
            Style::Text | Style::Quiet => self.line(&format!("left out {path}: {why}")),
        }
    }

    /// How often it warned.
    pub fn warnings(&self) -> u64 {
        *self.warnings.lock()
    }

    /// Prints the result: the one thing on stdout.
    pub fn result(&self, text: &str) {
        if self.style != Style::Json {
            self.suspended(|| self.write_out(&printable(text)));
        }
    }

    /// Tells what is wrong with the command line: people the lines of a text, programs its first paragraph.
    pub fn usage(&self, text: &str) {
        let (what, next) = text.split_once("\n\n").unwrap_or((text, ""));
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let what = one_line(what.strip_prefix("error: ").unwrap_or(what));
        self.event("error", error(&Failure::new(Kind::Usage, what).next(one_line(next))));
        text.lines().for_each(|line| self.line(line));
    }

    /// Prints one JSON document, the whole answer of a short command with `--json`.
    pub fn document(&self, document: &impl Serialize) {
        self.write_out(&plain_json(&format!("{:#}", value(document))));
    }

    /// Prints a text that was asked for, whatever the style: a manual, a script for a shell.
    pub fn page(&self, text: &str) {
        text.trim_end().lines().for_each(|line| self.write_out(&printable(line)));
    }

    /// Fails if something that belongs on stdout could not be written there. A reader that needs no more, as `head`, is
    /// no failure.
    pub fn check_written(&self) -> Result<(), Failure> {
        let Some(error) = self.unwritten.lock().take() else { return Ok(()) };
        let kind = if error.kind() == io::ErrorKind::StorageFull { Kind::NoSpace } else { Kind::Other };
        Err(Failure::new(kind, format!("cannot write the result to standard output: {error}"))
            .next("`parcelry ls` shows what was shared from here; other commands can be run again."))
    }

    fn write_out(&self, text: &str) {
        let mut out = std::io::stdout();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.unwritten.lock().get_or_insert(error);
            }
            _ => {}
        }
    }

    /// Ends a long command: a sentence for people, the fields for programs.
    pub fn summary(&self, text: &str, fields: impl Serialize) {
        match self.style {
            Style::Text => self.line(text),
            Style::Json => self.event("summary", fields),
            Style::Quiet => {}
        }
    }

    /// Adds a line for people to a summary.
    pub fn explain(&self, text: &str) {
        if self.style == Style::Text {
            self.line(text);
        }
    }

    /// Asks a question that only yes or no answers; `None` if there is nobody to ask.
    pub fn confirm(&self, question: &str) -> Option<bool> {
        let (stdin, stderr) = (std::io::stdin(), std::io::stderr());
        if self.style != Style::Text || !stdin.is_terminal() || !stderr.is_terminal() {
            return None;
        }
        write!(&stderr, "{} [y/N] ", printable(question)).and_then(|()| (&stderr).flush()).ok()?;
        let mut answer = String::new();
        stdin.read_line(&mut answer).ok()?;
        Some(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }

    /// Emits an event; only with `--json`.
    pub fn event(&self, kind: &str, fields: impl Serialize) {
        if self.style == Style::Json {
            let mut event = json!({ "type": kind });
            if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), value(&fields)) {
                event.extend(fields);
            }
            self.write_out(&plain_json(&event.to_string()));
        }
    }

    /// Reports the failure that ends a command.
    pub fn fail(&self, failure: &Failure) {
        self.event("error", error(failure));
        self.line(&format!("error: {}", failure.what));
        if let Some(next) = &failure.next {
            self.line(next);
        }
    }

    fn line(&self, text: &str) {
        let mut shown = printable(text);
        if let Some((end, _)) = shown.char_indices().nth(LINE_CHARS_MAX) {
            shown.truncate(end);
            shown.push('…');
        }
        // There is nobody to tell that nobody can be told.
        self.suspended(|| drop(writeln!(std::io::stderr(), "{shown}")));
    }

    fn suspended(&self, print: impl FnOnce()) {
        let bar = self.stages.lock().last().cloned();
        match bar {
            Some((_, bar)) => bar.suspend(print),
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
        self.report(&mut state);
    }

    /// Takes back bytes that have to be done again.
    pub fn retreat(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.done_bytes = state.done_bytes.saturating_sub(bytes);
        self.report(&mut state);
    }

    /// Shows a note at the end of the bar or line, as in `2 peers`.
    pub fn note(&self, note: String) {
        let mut state = self.state.lock();
        if let Some(bar) = &state.bar {
            bar.shown.set_message(printable(&note));
        }
        state.note = note;
    }

    fn report(&self, state: &mut StageState) {
        let (done_bytes, moved_bytes) = (self.done_bytes(state), self.moved_bytes(state));
        if let Some(bar) = &mut state.bar {
            return bar.set(done_bytes, moved_bytes);
        }
        let every = if self.progress.is_json() { EVENT_EVERY } else { LINE_EVERY };
        if state.reported.elapsed() < every {
            return;
        }
        state.reported = Instant::now();
        match self.progress.style {
            Style::Json => self.progress.event("status", self.status(state)),
            Style::Text => {
                let sentence = self.sentence(state);
                self.progress.line(&sentence);
            }
            Style::Quiet => {}
        }
    }

    /// Bytes of the whole that are done: an average of its copies.
    fn done_bytes(&self, state: &StageState) -> u64 {
        (state.done_bytes / self.copies).min(self.total_bytes)
    }

    /// Those of them that were moved by this very command.
    fn moved_bytes(&self, state: &StageState) -> u64 {
        state.done_bytes.saturating_sub(state.skipped_bytes) / self.copies
    }

    fn status<'a>(&self, state: &'a StageState) -> StageStatus<'a> {
        StageStatus {
            stage: self.name,
            done_bytes: self.done_bytes(state),
            total_bytes: self.total_bytes,
            skipped_bytes: state.skipped_bytes / self.copies,
            note: &state.note,
        }
    }

    fn sentence(&self, state: &mut StageState) -> String {
        let (done_bytes, moved_bytes) = (self.done_bytes(state), self.moved_bytes(state));
        let rate = state.rate.at(moved_bytes, Instant::now());
        let left = time_left(self.total_bytes - done_bytes, rate).map_or_else(|| "?".into(), human::duration);
        let percent = done_bytes.saturating_mul(100).checked_div(self.total_bytes).unwrap_or(100);
        let (done, total) = (human::bytes(done_bytes), human::bytes(self.total_bytes));
        let rate = human::bytes(rate);
        format!("{}: {percent} % ({done} of {total}), {rate}/s, {left} left {}", self.name, state.note)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let state = self.state.lock();
        let mut stages = self.progress.stages.lock();
        // One that fails may end before those within it.
        if let Some(at) = stages.iter().position(|(mark, _)| Arc::ptr_eq(mark, &self.mark)) {
            let (_, bar) = stages.remove(at);
            bar.finish_and_clear();
            if at == stages.len() {
                stages.last().iter().for_each(|(_, outer)| bar::show_again(outer));
            }
        }
        drop(stages);
        if self.progress.is_json() {
            self.progress.event("status", self.status(&state));
        }
    }
}

/// A failure as programs are told of it.
fn error(failure: &Failure) -> ErrorEvent<'_> {
    ErrorEvent {
        kind: failure.kind.word(),
        exit_code: failure.kind as u8,
        message: &failure.what,
        next: failure.next.as_deref().filter(|next| !next.is_empty()),
    }
}

/// What a program is told; all of it has string keys.
fn value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have string keys")
}

/// JSON whose strings hold nothing that could act on a terminal. All such characters that stand in JSON as they
/// are stand within its strings, but for the breaks between its lines.
pub(crate) fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && acts_on_terminal(c) {
            // None of them is beyond the first 65,536.
            plain.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_ends_before_one_within_it_is_not_shown_again() {
        let progress = Progress { bars: true, ..Progress::silent() };
        let shown = |stage: &Stage| stage.state.lock().bar.as_ref().unwrap().shown.clone();
        let is_over = |bar: &ProgressBar| bar.is_finished();
        let (outer, inner) = (progress.stage("outer", 1), progress.stage("inner", 1));
        let [outer_bar, inner_bar] = [&outer, &inner].map(shown);
        assert!(is_over(&outer_bar) && !is_over(&inner_bar));
        drop(inner);
        assert!(!is_over(&outer_bar) && is_over(&inner_bar));
        let inner = progress.stage("inner", 1);
        drop(outer);
        drop(inner);
        assert!(is_over(&outer_bar) && progress.stages.lock().is_empty());
    }

    #[test]
    fn s12_json_stays_what_it_is_and_has_nothing_that_acts_on_a_terminal() {
        let hostile = "\u{1b}]0;x\u{7}\u{7f}\u{9b}31m\u{9d}\u{202e}\u{2066}\u{2028}\n Ü 日本 🦀";
        let document = json!({ "name": hostile, hostile: [hostile] });
        for text in [document.to_string(), format!("{document:#}")] {
            let plain = plain_json(&text);
            assert!(!plain.contains(|c| c != '\n' && acts_on_terminal(c)), "{plain:?}");
            assert!(plain.contains("Ü 日本 🦀"), "{plain}");
            assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), document);
        }
    }
}
