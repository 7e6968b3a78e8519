//! The `eo-agent` program; everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    eo_agent::main()
}
