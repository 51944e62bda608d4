//! A network of the machine's own making: each node in a network namespace, joined to this process by a
//! bridge. Its nodes can be kept from hearing each other while their clients still reach all of them.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The namespaces, and the bridge between them. All are removed when this is dropped.
pub(crate) struct Network {
    number: u32,
    nodes: usize,
}

impl Network {
    /// Makes a namespace for each node. Needs root and `ip`.
    ///
    /// # Errors
    ///
    /// A sentence that says what this machine does not allow.
    pub(crate) fn new(nodes: usize) -> Result<Network, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Two of these on one machine, in one process or in two, seldom meet.
        let number = (std::process::id() * 8 + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_384;
        let network = Network { number, nodes };
        let bridge = network.name(0);
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", network.host(0)))?;
        ip(&format!("link set {bridge} up"))?;
        for node in 1..=nodes {
            let (name, host) = (network.name(node), network.host(node));
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {name} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {name} master {bridge} up"))?;
            ip(&format!("-n {name} addr add {host}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(network)
    }

    /// A node's own host; 0 is this process.
    pub(crate) fn host(&self, node: usize) -> String {
        format!("10.{}.{}.{}", 192 + self.number / 256, self.number % 256, node + 1)
    }

    /// What has a command run where the node is.
    pub(crate) fn inside(&self, node: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(node)].map(str::to_owned).to_vec()
    }

    /// Nothing that `from` sends reaches `to` any more. The other direction is left as it is.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        let route = format!("-n {} route add blackhole {}/32", self.name(from), self.host(to));
        ip(&route).expect("a route can be added");
    }

    /// It does again.
    pub(crate) fn heal(&self, from: usize, to: usize) {
        let route = format!("-n {} route del blackhole {}/32", self.name(from), self.host(to));
        ip(&route).expect("the route can be removed");
    }

    /// The name of a node's namespace and of its end of the wire; 0 is the bridge.
    fn name(&self, node: usize) -> String {
        format!("raft{}n{node}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made cannot be removed, and need not be.
        for node in 1..=self.nodes {
            let _ = ip(&format!("link del {}", self.name(node)));
            let _ = ip(&format!("netns del {}", self.name(node)));
        }
        let _ = ip(&format!("link del {}", self.name(0)));
    }
}

fn ip(words: &str) -> Result<(), String> {
    let run = Command::new("ip").args(words.split(' ')).stdin(Stdio::null()).output();
    let output = run.map_err(|error| format!("`ip` cannot be run ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`ip {words}` is refused here: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
