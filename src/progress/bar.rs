//! The bar on a terminal: one line, whatever its width.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;

use super::rate::{Rate, time_left};
use crate::human;

/// Columns of a terminal that does not tell.
const USUAL_COLUMNS: u16 = 80;

/// How often a bar is drawn although nothing moves.
const TICK: Duration = Duration::from_millis(100);

/// What a bar shows about the movement of bytes.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    /// Bytes that have moved, without those that needed not, and how fast they do.
    state: Arc<Mutex<(u64, Rate)>>,
}

/// A bar on standard error.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) shown: ProgressBar,
    movement: Movement,
    columns: u16,
}

impl Movement {
    fn new() -> Self {
        Self { state: Arc::new(Mutex::new((0, Rate::since(Instant::now())))) }
    }

    fn bytes_per_second(&self) -> u64 {
        let (moved_bytes, rate) = &mut *self.state.lock();
        rate.at(*moved_bytes, Instant::now())
    }
}

impl Bar {
    pub(super) fn new(name: &'static str, total_bytes: u64) -> Self {
        let shown = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
        let (movement, columns) = (Movement::new(), columns());
        shown.set_style(style(columns, &movement));
        shown.set_prefix(name);
        shown.enable_steady_tick(TICK);
        Self { shown, movement, columns }
    }

    /// Shows that so many bytes are done, of which so many have moved.
    pub(super) fn set(&mut self, done_bytes: u64, moved_bytes: u64) {
        self.movement.state.lock().0 = moved_bytes;
        self.shown.set_position(done_bytes);
        let columns = columns();
        if columns != self.columns {
            self.columns = columns;
            self.shown.set_style(style(columns, &self.movement));
        }
    }
}

/// Shows a bar that was cleared away, where it was.
pub(super) fn show_again(shown: &ProgressBar) {
    let position = shown.position();
    shown.reset();
    shown.set_position(position);
    shown.enable_steady_tick(TICK);
}

/// What has room in so many columns; the note at the end is cut where it has none.
fn style(columns: u16, movement: &Movement) -> ProgressStyle {
    let template = match columns {
        78.. => {
            "{prefix} {bar:10} {percent:>3} % {decimal_bytes}/{decimal_total_bytes} {rate}, {left} left {wide_msg}"
        }
        56.. => "{prefix} {percent:>3} % of {decimal_total_bytes} {rate}, {left} left {wide_msg}",
        38.. => "{prefix} {percent:>3} % {rate}, {left} left",
        _ => "{prefix} {percent:>3} %",
    };
    let (of_rate, of_left) = (movement.clone(), movement.clone());
    let rate = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{}/s", human::bytes(of_rate.bytes_per_second()));
    };
    let left = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let left_bytes = state.len().unwrap_or(0).saturating_sub(state.pos());
        let _ = match time_left(left_bytes, of_left.bytes_per_second()) {
            Some(left) => write!(out, "{:#}", HumanDuration(left)),
            None => out.write_char('?'),
        };
    };
    let style = ProgressStyle::with_template(template).expect("each template is sound");
    style.progress_chars("=> ").with_key("rate", rate).with_key("left", left)
}

fn columns() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.map(|size| size.ws_col).ok().filter(|&columns| columns > 0).unwrap_or(USUAL_COLUMNS)
}
