//! Logs: to stderr, coloured on a terminal only. And the one log line that ends the process: sled
//! logs some errors of the disk and goes on; a node must not.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use super::exit::{Failure, Status};
use crate::disk::hook;
use crate::wal;

/// Starts logging what `filter` lets through.
pub(super) fn init(filter: &str) -> Result<(), Failure> {
    let logged = filter;
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::new(Status::Usage, format!("--log {filter}: {error}")))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .finish();
    let twice = |error: &dyn std::fmt::Display| Failure::new(Status::Internal, error);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| twice(&error))?;
    log::set_logger(&Bridge).map_err(|error| twice(&error))?;
    log::set_max_level(log::LevelFilter::Warn);
    let _the_first_stays = FILTER.set(logged.to_owned());
    Ok(())
}

/// What is let through.
static FILTER: OnceLock<String> = OnceLock::new();

/// The same, to be passed on.
pub(super) fn filter() -> &'static str {
    FILTER.get().map_or("warn", String::as_str)
}

/// Carries the lines of libraries that log by `log` (sled) over.
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if let Some(line) = wal::fatal_line(record) {
            hook::fail(&line);
        }
        tracing::warn!(library = record.target(), "{}", record.args());
    }

    fn flush(&self) {}
}
