//! The log on standard error.

use std::io::{self, IsTerminal as _};

use portreeve_config::{Log, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use crate::failure::Failure;

/// Changes how much is logged.
#[derive(Clone, Debug)]
pub(crate) struct LogControl(reload::Handle<LevelFilter, Registry>);

/// Starts the log.
pub(crate) fn start(config: &Log) -> Result<LogControl, Failure> {
    let (level, handle) = reload::Layer::new(filter(config.level));
    let plain = fmt::layer().with_writer(io::stderr);
    let format = match config.format {
        LogFormat::Text => plain.with_target(false).with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => plain.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let started = tracing_subscriber::registry().with(level).with(format).try_init();
    started.map_err(|error| Failure::Refused(format!("cannot start the log: {error}")))?;
    Ok(LogControl(handle))
}

impl LogControl {
    /// Takes effect with the next line.
    pub(super) fn set(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::warn!(%error, "the log level cannot be changed");
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
