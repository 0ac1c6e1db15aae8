//! A bar on the terminal, for what takes long.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::show;

/// What takes no longer shows none.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far one file is.
pub(super) struct Progress {
    /// Whether somebody can see it.
    shown: bool,
    since: Instant,
    name: String,
    /// Bytes of the input; `None` if that is not known.
    total: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(shown: bool, name: &str, total: Option<u64>) -> Self {
        Self { shown, since: Instant::now(), name: name.to_owned(), total, bar: None }
    }

    /// So many bytes of the input are done.
    pub(super) fn at(&mut self, bytes: u64) {
        if !self.shown {
            return;
        }
        if self.bar.is_none() && self.since.elapsed() >= PATIENCE {
            self.bar = Some(self.begin());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    fn begin(&self) -> ProgressBar {
        let bar =
            ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr()).with_elapsed(PATIENCE);
        let colour = if show::colour(&std::io::stderr()) { ".cyan" } else { "" };
        let template = match self.total {
            Some(_) => {
                format!("{{wide_msg}} {{bar:20{colour}}} {{bytes}} of {{total_bytes}}, {{eta}}")
            }
            None => "{wide_msg} {bytes}, {bytes_per_sec}".to_owned(),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.with_message(self.name.clone())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
