//! `isere rpc`.

use super::exit::Exit;
use clap::Args;
use rpc::{Client, ClientError};
use serde_json::Value;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  isere rpc rpc_get_methods
  isere rpc bdev_get_bdevs '{\"name\":\"M0\"}'
  isere rpc save_config '{\"filename\":\"/etc/isere.json\"}'
  echo '{\"tag\":1}' | isere rpc iscsi_delete_portal_group -

Exit codes: 0 the result is printed, 1 an RPC error (on stderr), 2 wrong usage, 3 cannot connect.";

/// Arguments of `isere rpc`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RpcArgs {
    /// Method
    pub method: String,

    /// Parameters: a JSON object, or - to read it from stdin
    #[arg(value_name = "JSON")]
    pub params: Option<String>,

    /// Socket of the target
    #[arg(long, short = 's', value_name = "PATH", env = "ISERE_RPC_SOCKET", default_value = super::DEFAULT_RPC_SOCKET)]
    pub rpc_socket: PathBuf,

    /// Give up after this many seconds
    #[arg(long, short = 't', value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

/// Calls the method and prints its result.
pub fn run(args: &RpcArgs) -> Exit {
    let params = match read_params(args.params.as_deref()) {
        Ok(params) => params,
        Err(error) => {
            eprintln!("isere rpc: parameters: {error}");
            return Exit::Usage;
        }
    };
    let connected = Client::connect(&args.rpc_socket).and_then(|client| {
        client.set_timeout(Some(Duration::from_secs(args.timeout)))?;
        Ok(client)
    });
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => {
            let path = args.rpc_socket.display();
            eprintln!(
                "isere rpc: cannot connect to {path}: {error}\nIs `isere serve` running, and with this --rpc-socket?"
            );
            return Exit::NoConnection;
        }
    };
    match client.call(&args.method, params.as_ref()) {
        // A closed pipe (`| head`) is no failure of the call.
        Ok(result) => {
            let _ = writeln!(io::stdout(), "{result:#}");
            Exit::Success
        }
        // The process may be gone before it can answer the method that ends it.
        Err(ClientError::Closed) if args.method == "spdk_kill_instance" => Exit::Success,
        Err(error) => {
            eprintln!("isere rpc: {}: {error}", args.method);
            Exit::Failure
        }
    }
}

fn read_params(text: Option<&str>) -> Result<Option<Value>, String> {
    let read;
    let text = match text {
        None => return Ok(None),
        Some("-") => {
            read = io::read_to_string(io::stdin()).map_err(|error| error.to_string())?;
            &read
        }
        Some(text) => text,
    };
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => Ok(Some(object)),
        Ok(_) => Err("expected a JSON object".into()),
        Err(error) => Err(error.to_string()),
    }
}
