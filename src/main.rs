//! Parse and dispatch; everything else lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    indelible::cli::main()
}
