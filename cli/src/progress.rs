//! Progress on standard error: only on a terminal, only for work that takes more than a second.
#![expect(clippy::disallowed_types, reason = "the shell: progress is about the clock on the wall")]

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use identity_ledger::visible;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::Screen;

/// Work that is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far a command is. What it shows is gone once it is dropped.
pub(crate) struct Progress {
    began: Instant,
    /// Whether anybody could see it.
    visible: bool,
    bar: ProgressBar,
    what: String,
    total: Option<u64>,
    shown: bool,
    /// Dropped to stop what waits a second before it shows that a command works.
    waiting: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// For a command that prints its answer when it is done.
    pub(crate) fn new() -> Progress {
        Progress {
            began: Instant::now(),
            visible: io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            what: String::new(),
            total: None,
            shown: false,
            waiting: None,
        }
    }

    /// For a command that prints while it works: a bar would tear a table on the same terminal.
    pub(crate) fn beside(screen: &Screen) -> Progress {
        let mut progress = Progress::new();
        progress.visible &= !screen.is_terminal;
        progress
    }

    /// Begins a piece of work that does not say how far it is.
    pub(crate) fn begin_waiting(&mut self, what: &str) {
        self.begin(what, None);
        self.wait();
    }

    /// Begins a piece of work of `total` bytes, if that is known.
    pub(crate) fn begin(&mut self, what: impl Into<String>, total: Option<u64>) {
        self.clear();
        self.what = what.into();
        self.total = total;
    }

    /// Shows that `bytes` bytes are done.
    pub(crate) fn at(&mut self, bytes: u64) {
        if !self.visible {
            return;
        }
        if !self.shown && self.began.elapsed() >= PATIENCE {
            self.show();
        }
        if self.shown {
            self.bar.set_position(bytes);
        }
    }

    /// Shows that a command works, without how far it is, once it took a second.
    fn wait(&mut self) {
        if !self.visible {
            return;
        }
        self.bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_style(style("{spinner:.cyan} {msg}  {elapsed}"));
        self.bar.set_message(visible(&self.what).into_owned());
        let (stop, stopped) = channel::<()>();
        let (bar, left) = (self.bar.clone(), PATIENCE.saturating_sub(self.began.elapsed()));
        let waiter = thread::spawn(move || {
            if stopped.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(100));
            }
        });
        self.waiting = Some((stop, waiter));
    }

    fn show(&mut self) {
        self.bar = match self.total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg}  {wide_bar:.cyan/238}  {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left",
            )),
            None => ProgressBar::new_spinner().with_style(style("{spinner:.cyan} {msg}  {bytes}  {elapsed}")),
        };
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.set_message(visible(&self.what).into_owned());
        self.shown = true;
    }

    /// Writes a line to standard error without tearing the bar. If that fails, there is nowhere left to
    /// report it.
    pub(crate) fn line(&self, text: &str) {
        let text = visible(text);
        self.bar.suspend(|| writeln!(io::stderr(), "{text}").ok());
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if let Some((stop, waiter)) = self.waiting.take() {
            drop(stop);
            waiter.join().ok(); // it does not panic
        }
        self.bar.finish_and_clear();
        self.bar = ProgressBar::hidden();
        self.shown = false;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates are written above");
    style.progress_chars("━━─")
}

/// The bytes of log in a ledger's directory; only a progress bar relies on it.
pub(crate) fn log_bytes(ledger: &Path) -> Option<u64> {
    let files = ledger.join("log").read_dir().ok()?;
    Some(files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum())
}
