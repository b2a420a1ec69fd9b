//! A batch: so many messages as fast as the replies come, and what that was like.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use super::ChatArgs;
use crate::cli::exit::{Failure, Status};
use crate::cli::load::{self, Amount, Load, Tally, Work};
use crate::cluster::Cluster;

/// A batch, if one is asked for.
#[derive(clap::Args)]
pub(super) struct BatchArgs {
    /// Send so many messages, by all clients together, and measure
    #[arg(long, env = "INDELIBLE_BATCH", value_name = "COUNT")]
    batch: Option<u64>,
    /// With --batch: bytes of each message
    #[arg(long, env = "INDELIBLE_SIZE", default_value_t = 100)]
    size: usize,
    /// With --batch: how many clients
    #[arg(long, env = "INDELIBLE_CLIENTS", default_value_t = 8)]
    clients: usize,
    /// With --batch: one object, for scripts
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

impl BatchArgs {
    /// How many messages, if a batch is asked for.
    pub(super) fn count(&self) -> Option<u64> {
        self.batch
    }
}

pub(super) async fn run(args: &ChatArgs, count: u64, cluster: &Cluster) -> Result<(), Failure> {
    let (clients, size) = (args.batch.clients, args.batch.size);
    if clients == 0 || count == 0 {
        return Err(Failure::new(Status::Usage, "at least one client and one message"));
    }
    let amount = Amount::Messages { count, patience: *args.wait };
    let (name, work) = (Bytes::from(args.name.clone()), Work::Say(size));
    let load = Load { clients, name, work, amount };
    let bar = bar(count);
    let tally = load::run(&load, &bar, || args.client(cluster)).await;
    bar.finish_and_clear();
    let tally = tally?;
    let mut told = report(&args.batch, &tally);
    told.push('\n');
    super::write_out(told.as_bytes())?;
    if tally.acknowledged < count {
        let open = count - tally.acknowledged;
        let line = format!("no quorum: {open} of {count} messages were not acknowledged in time");
        return Err(Failure::new(Status::Unavailable, line));
    }
    Ok(())
}

/// The bar on standard error, if that is a terminal which can draw one.
fn bar(count: u64) -> ProgressBar {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // If it cannot be drawn there is nobody to tell.
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    let template = "{wide_bar} {pos}/{len} acknowledged, {rate}/s, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is sound");
    let bar = ProgressBar::new(count).with_style(style.with_key("rate", rate));
    // It shows even before the first reply, and that time goes on without one.
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn report(args: &BatchArgs, tally: &Tally) -> String {
    let Tally { sent, acknowledged, retried, .. } = *tally;
    let seconds = tally.took.as_secs_f64();
    let rate = acknowledged as f64 / seconds.max(f64::MIN_POSITIVE);
    if args.json {
        let mut object = json!({
            "clients": args.clients, "size": args.size, "sent": sent,
            "acknowledged": acknowledged, "retried": retried, "seconds": seconds, "rate": rate,
        });
        tally.latency_into(&mut object);
        return object.to_string();
    }
    let (clients, size, latency) = (args.clients, args.size, tally.latency());
    format!(
        "{sent} sent, {acknowledged} acknowledged, {retried} retried in {seconds:.3} s by \
         {clients} clients of {size} bytes: {rate:.0}/s; {latency}"
    )
}
