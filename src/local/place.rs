//! Where a node runs: an address, and the way in.
//!
//! On this machine that is a port of the loopback address and no way at all. Where a test makes
//! hosts of its own, each in a network namespace, it is the host's address and an `nsenter`, which
//! becomes the node: the process that is started is the one that is signalled.

use std::ffi::OsString;
use std::path::Path;

/// Where a node runs: the address that the others find it at, and the words that its command line
/// is put behind to run there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host and port, as the cluster file has them.
    pub address: String,
    /// A program and its arguments that run a command line there by *becoming* it, as
    /// `["nsenter", "--net=/proc/1234/ns/net", "--"]` does; none to run it here.
    pub enter: Vec<String>,
}

impl Place {
    /// This machine, at a port of the loopback address.
    #[must_use]
    pub fn loopback(port: u16) -> Place {
        Place { address: format!("127.0.0.1:{port}"), enter: Vec::new() }
    }

    /// The program to start, and its arguments, so that `program` runs there with `args`.
    pub(super) fn line(&self, program: &Path, args: &[String]) -> (OsString, Vec<OsString>) {
        let enter = self.enter.iter().map(OsString::from);
        let mut words = enter.chain([program.into()]).chain(args.iter().map(OsString::from));
        (words.next().unwrap_or_default(), words.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug that turns it red: a way in that the program is not put behind.
    #[test]
    fn a_command_line_stands_behind_the_way_in() {
        let line = |enter: &[&str]| {
            let enter = enter.iter().map(|word| (*word).to_owned()).collect();
            let place = Place { enter, ..Place::loopback(7000) };
            place.line(Path::new("/bin/node"), &["--id=0".to_owned()])
        };
        assert_eq!(line(&[]), ("/bin/node".into(), vec!["--id=0".into()]));
        let inside = ["--net=x".into(), "--".into(), "/bin/node".into(), "--id=0".into()];
        assert_eq!(line(&["nsenter", "--net=x", "--"]), ("nsenter".into(), inside.into()));
    }
}
