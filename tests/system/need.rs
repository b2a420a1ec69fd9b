//! Trials that need a tool or a right, and what happens where it is missing.
//!
//! By hand such a trial is skipped and reported as ignored, with the reason. With
//! `INDELIBLE_TESTS=all`, as the continuous integration sets it, it fails: there a skip would be a
//! proof that nobody looks at any more.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Completion, Failed, Trial};

/// What a trial cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the whole vocabulary, whichever trials are built in")]
pub(crate) enum Need {
    /// A program on the PATH, or where Debian keeps those for root.
    Program(&'static str),
    /// User 0.
    Root,
    /// Loop devices, to make a file system in a file.
    Loop,
    /// Network namespaces, with interfaces to configure: more than user 0 may do in a container.
    Network,
}

impl Need {
    fn missing(self) -> Option<String> {
        match self {
            Need::Program(name) => (!on_path(name)).then(|| format!("no program `{name}`")),
            Need::Root => (!rustix::process::geteuid().is_root()).then(|| "not root".to_owned()),
            Need::Loop => {
                (!Path::new("/dev/loop-control").exists()).then(|| "no loop devices".to_owned())
            }
            Need::Network => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--net", "--", "ip", "link", "set", "lo", "up"]);
                let made = unshare.stderr(Stdio::null()).status();
                let is_made = made.is_ok_and(|status| status.success());
                (!is_made).then(|| "no network namespaces".to_owned())
            }
        }
    }
}

/// A trial that runs only where all of `needs` are met.
pub(crate) fn trial(
    name: &str,
    needs: &'static [Need],
    runner: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
        let all = std::env::var_os("INDELIBLE_TESTS").is_some_and(|tests| tests == "all");
        match verdict(&missing, all)? {
            Some(ignored) => Ok(ignored),
            None => runner().map(|()| Completion::Completed),
        }
    })
}

/// Nothing when the trial can run; otherwise that it is ignored, or has failed.
fn verdict(missing: &[String], all: bool) -> Result<Option<Completion>, Failed> {
    if missing.is_empty() {
        return Ok(None);
    }
    let reason = missing.join(", ");
    if all {
        return Err(Failed::from(format!("{reason}, and INDELIBLE_TESTS=all allows no skip")));
    }
    Ok(Some(Completion::ignored_with(reason)))
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(for_root).any(|folder| folder.join(program).is_file())
}

/// The trials of this module: it must itself be able to fail.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("need::a_missing_tool_is_noticed", || {
            assert_eq!(Need::Program("sh").missing(), None);
            assert!(Need::Program("no-such-program").missing().is_some());
            Ok(())
        }),
        Trial::test("need::a_skip_is_a_failure_where_all_is_asked", || {
            let missing = ["no program `x`".to_owned()];
            assert!(verdict(&missing, true).is_err());
            assert!(matches!(verdict(&missing, false), Ok(Some(Completion::Ignored { .. }))));
            assert!(matches!(verdict(&[], true), Ok(None)));
            Ok(())
        }),
    ]
}
