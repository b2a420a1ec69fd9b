//! Hosts on this machine: each a network namespace with an address of its own, behind one switch.
//!
//! No namespace has a name: each lives as long as a process in it. The switch is in that of this
//! process, which was started below `unshare --net`; each host is held by a `cat` whose input we
//! hold. So all of it goes when this process goes, however it ends, and nobody else ever sees it.
//!
//! What is cut off is cut off by the kernel, which drops packets as they arrive: no connection
//! breaks by it, and nobody is told.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use indelible::local::Place;
use libtest_mimic::Failed;

/// Where a node listens on its host.
const PORT: u16 = 7000;

/// The tester's own address, on the switch.
const TESTER: &str = "10.0.0.254";

/// How long a host may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hosts, by the nodes that run on them. Dropping them ends their namespaces.
pub(super) struct Hosts(Vec<Host>);

/// A host, by the process that holds its namespace.
struct Host {
    id: u16,
    keeper: Child,
    address: String,
}

impl Hosts {
    /// Makes so many, all connected.
    pub(super) fn make(count: u16) -> Result<Hosts, Failed> {
        let above = fs::read_link(format!("/proc/{}/ns/net", parent_id()))?;
        if fs::read_link("/proc/self/ns/net")? == above {
            return Err("not below `unshare --net`: this would change the machine's network".into());
        }
        run("ip link set lo up")?;
        run("ip link add switch type bridge")?;
        run(&format!("ip address add {TESTER}/24 dev switch"))?;
        run("ip link set switch up")?;
        Ok(Hosts((0..count).map(Host::make).collect::<Result<_, _>>()?))
    }

    /// Where the nodes run.
    pub(super) fn places(&self) -> Vec<Place> {
        let place = |host: &Host| Place {
            address: format!("{}:{PORT}", host.address),
            enter: host.enter().split(' ').map(str::to_owned).collect(),
        };
        self.0.iter().map(place).collect()
    }

    /// From now on nothing arrives that goes from one host to another where `is_cut` says so, and
    /// all else does. At each host it changes in one go, at the last first.
    pub(super) fn cut(&self, is_cut: impl Fn(u16, u16) -> bool) -> Result<(), Failed> {
        for to in self.0.iter().rev() {
            let cut = self.0.iter().filter(|from| from.id != to.id && is_cut(from.id, to.id));
            to.drop_from(cut)?;
        }
        Ok(())
    }

    /// Nothing passes between a host and the tester, in addition to what is cut already.
    pub(super) fn cut_tester_off(&self, host: u16) -> Result<(), Failed> {
        let host = &self.0[usize::from(host)];
        host.run(&format!("iptables -w -A INPUT -s {TESTER} -j DROP"))?;
        run(&format!("iptables -w -A INPUT -s {} -j DROP", host.address))
    }

    /// The connections that stand from one host to the node of another are dead from now on, and
    /// nobody is told; new ones are not.
    pub(super) fn sever(&self, from: u16, to: u16) -> Result<(), Failed> {
        let (from, to) = (&self.0[usize::from(from)], &self.0[usize::from(to)]);
        for port in from.ports_to(to)? {
            let one = format!("-s {} --sport {port} --dport {PORT}", from.address);
            to.run(&format!("iptables -w -A INPUT -p tcp {one} -j DROP"))?;
        }
        Ok(())
    }

    /// From now on this share of all packets is lost, wherever they arrive.
    pub(super) fn lose(&self, share: f64) -> Result<(), Failed> {
        let lossy = "-m statistic --mode random --probability";
        for host in &self.0 {
            host.run(&format!("iptables -w -A INPUT -i eth0 {lossy} {share} -j DROP"))?;
        }
        run(&format!("iptables -w -A INPUT -i switch {lossy} {share} -j DROP"))
    }

    /// Everything arrives again. How many packets did not.
    pub(super) fn heal(&self) -> Result<u64, Failed> {
        let mut dropped = 0;
        for enter in self.0.iter().map(Host::enter).chain([String::new()]) {
            let counters = output(&format!("{enter} iptables -w -n -v -x -L INPUT"))?;
            // Each line of a rule: packets, bytes, target.
            let rules = counters.lines().map(str::split_whitespace).filter_map(|mut words| {
                let packets = words.next()?.parse::<u64>().ok()?;
                (words.nth(1)? == "DROP").then_some(packets)
            });
            dropped += rules.sum::<u64>();
            run(&format!("{enter} iptables -w -F INPUT"))?;
        }
        Ok(dropped)
    }
}

impl Host {
    fn make(id: u16) -> Result<Host, Failed> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let address = format!("10.0.0.{}", id + 1);
        let mut host = Host { id, keeper: unshare.spawn()?, address };
        host.wait()?;
        let (keeper, address) = (host.keeper.id(), &host.address);
        run(&format!("ip link add port{id} type veth peer name eth0 netns {keeper}"))?;
        run(&format!("ip link set port{id} master switch up"))?;
        host.run("ip link set lo up")?;
        host.run(&format!("ip address add {address}/24 dev eth0"))?;
        host.run("ip link set eth0 up")?;
        Ok(host)
    }

    /// Waits until the keeper is in a namespace of its own: before that it is in ours.
    fn wait(&mut self) -> Result<(), Failed> {
        let (own, until) = (fs::read_link("/proc/self/ns/net")?, Instant::now() + PATIENCE);
        while fs::read_link(self.namespace()).map_or(true, |namespace| namespace == own) {
            if self.keeper.try_wait()?.is_some() || Instant::now() > until {
                return Err("unshare makes no network namespace".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.keeper.id()).into()
    }

    /// From which ports it is connected to the node of another.
    fn ports_to(&self, other: &Host) -> Result<Vec<u16>, Failed> {
        const ESTABLISHED: &str = "01";
        let address: Ipv4Addr = other.address.parse()?;
        let remote = format!("{:08X}:{PORT:04X}", u32::from_ne_bytes(address.octets()));
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.keeper.id()))?;
        let ports = table.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
            (*fields.get(2)? == remote && *fields.get(3)? == ESTABLISHED).then_some(port)
        });
        Ok(ports.collect())
    }

    /// The words behind which a command line runs on this host.
    fn enter(&self) -> String {
        format!("nsenter --net={} --", self.namespace().display())
    }

    fn run(&self, words: &str) -> Result<(), Failed> {
        run(&format!("{} {words}", self.enter()))
    }

    /// Drops what comes from these hosts, and nothing else.
    fn drop_from<'a>(&self, cut: impl Iterator<Item = &'a Host>) -> Result<(), Failed> {
        let rule = |from: &Host| format!("-A INPUT -s {} -j DROP\n", from.address);
        let table = format!("*filter\n{}COMMIT\n", cut.map(rule).collect::<String>());
        feed(&format!("{} iptables-restore -w", self.enter()), &table).map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ended_before = self.keeper.kill();
        let _reaped_before = self.keeper.wait();
    }
}

fn run(words: &str) -> Result<(), Failed> {
    output(words).map(drop)
}

fn output(words: &str) -> Result<String, Failed> {
    feed(words, "")
}

/// Runs a command line with this input; what it says.
fn feed(words: &str, input: &str) -> Result<String, Failed> {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().ok_or("an empty command line")?);
    command.args(words).env("PATH", path());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    child.stdin.take().ok_or("no pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {said}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Our PATH, and where Debian keeps programs for root.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
