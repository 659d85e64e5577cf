//! `isere serve`: start and shutdown, in order.

use crate::cli::exit::Exit;
use crate::cli::serve::ServeArgs;
use crate::config::{self, Apply};
use crate::context::Control;
use crate::engine::{self, Engine};
use crate::log::{self, LogControl};
use crate::methods;
use crate::metrics::Endpoint;
use crate::model::{Model, ModelError};
use reactors::signal::{Signals, Woken};
use rpc::{Listener, MethodTable, Server};
use std::error::Error;
use std::sync::Arc;

/// Runs until a signal ends it.
pub fn run(args: &ServeArgs) -> Exit {
    let log = log::start(args.log_level, args.log_format);
    match serve(args, log) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            Exit::Failure
        }
    }
}

fn serve(args: &ServeArgs, log: LogControl) -> Result<Exit, Box<dyn Error>> {
    let signals = Signals::install()?;
    // First, so that a second instance ends before it takes memory and CPUs.
    let listener = Listener::bind(&args.rpc_socket)?;
    let engine = engine::start(args)?;
    let table = Arc::new(methods::table());
    let ctx = Arc::new(Control::new(engine, log));
    ctx.set_catalog(table.catalog());
    if let Err(error) = initialise(args, &table, &ctx) {
        close(&ctx);
        return Err(error);
    }
    let server = Server::start(listener, table, ctx.clone())?;
    let metrics = args.metrics.map(|address| Endpoint::start(address, ctx.clone())).transpose();
    if let Ok(metrics) = &metrics {
        announce(args, &ctx, metrics.as_ref());
    }
    let outcome = match &metrics {
        Ok(_) => wait(&signals, ctx.engine()),
        Err(_) => Exit::Failure,
    };
    server.stop();
    let failed = match metrics {
        Ok(endpoint) => {
            endpoint.into_iter().for_each(Endpoint::stop);
            None
        }
        Err(error) => Some(format!("metrics: {error}")),
    };
    close(&ctx);
    failed.map_or(Ok(outcome), |error| Err(error.into()))
}

fn initialise(args: &ServeArgs, table: &MethodTable<Control>, ctx: &Control) -> Result<(), Box<dyn Error>> {
    if args.wait_for_rpc {
        return Ok(());
    }
    let calls = match &args.config {
        Some(path) => config::read(path)?,
        None => Vec::new(),
    };
    let applied = config::apply(table, ctx, &calls, Apply::All);
    applied.map_err(|error| match &args.config {
        Some(path) => error.in_file(path).into(),
        None => error.into(),
    })
}

fn announce(args: &ServeArgs, ctx: &Control, metrics: Option<&Endpoint>) {
    tracing::info!(socket = %args.rpc_socket.display(), "rpc");
    if let Some(endpoint) = metrics {
        tracing::info!(address = %endpoint.address(), "metrics");
    }
    for group in &ctx.model().portal_groups {
        for portal in &group.portals {
            let crate::model::Portal { transport, provider, .. } = portal;
            tracing::info!(tag = group.tag, ?transport, ?provider, "portal {portal}");
        }
    }
    if args.wait_for_rpc {
        tracing::info!("waiting for the framework_start_init RPC");
    }
}

fn wait(signals: &Signals, engine: &dyn Engine) -> Exit {
    loop {
        match signals.wait(engine.failure_fd(), None) {
            Woken::Signal(signal) => {
                tracing::info!(signal, "shutting down; a second signal ends the process at once");
                return Exit::Success;
            }
            Woken::Other => {
                tracing::error!("a core has failed; shutting down");
                return Exit::Failure;
            }
            Woken::Timeout => {}
        }
    }
}

/// Lets go of everything in the order of dependence: portals, targets, devices from the last layer down, cores.
fn close(ctx: &Control) {
    let closed = ctx.change(|model, engine| {
        for group in &model.portal_groups {
            engine.close_portals(group.tag);
        }
        *model = Model { bdevs: std::mem::take(&mut model.bdevs), ..Model::default() };
        Ok::<_, ModelError>(())
    });
    if let Err(error) = closed {
        tracing::error!(%error, "cannot close the targets");
    }
    let deleted = ctx.change(|model, engine| {
        for bdev in std::mem::take(&mut model.bdevs).iter().rev() {
            if let Err(error) = engine.delete_bdev(bdev.name()) {
                tracing::error!(bdev = bdev.name(), %error, "cannot close the block device");
            }
        }
        Ok::<_, ModelError>(())
    });
    if let Err(error) = deleted {
        tracing::error!(%error, "cannot publish the empty configuration");
    }
    ctx.engine().shutdown();
    tracing::info!("stopped");
}
