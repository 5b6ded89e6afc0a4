//! A wide-area network in user space: joins hosts, each a network namespace, through TUN devices.
//!
//!     parcelry-wan MTU SEED HOST…
//!
//! A HOST is `NAMESPACE,ADDRESS` and what the line *to* it is like: `,delay=MS`, `,rate=MBIT`, `,queue=BYTES`
//! and `,loss=FRACTION`. Each gets a device `wan0`; addresses and routes are the caller's business. Rates count
//! whole IP packets.
//!
//! It says `ready` on stdout and then takes commands on stdin, one a line: a HOST as above changes a line, without
//! touching what is on it, except that its buffers stay as they were laid out at first; `counts` prints what became
//! of the packets. It ends when stdin does.
//!
//! The kernel hands over and takes long TCP segments, as it does with a network card that splits and joins them
//! (TSO, GRO): a system call for each packet of 1500 bytes would take most of a core at 1 Gb/s. In between they are
//! single packets of at most MTU bytes: each takes its own time on the line, and is lost or dropped alone.

mod link;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, SyncDevice, VIRTIO_NET_HDR_LEN};

use crate::link::{Link, Shape};

/// What arrives within this time is handed over at once: so a network card holds its interrupts back. It is small
/// next to any delay that is worth emulating.
const TICK: Duration = Duration::from_micros(250);

/// Long segments that wait to be read from a device; the kernel drops more, and counts that as `tx_dropped`.
const DEVICE_QUEUE: u32 = 10_000;

type Anything = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "parcelry-wan: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Anything> {
    let mut args = std::env::args().skip(1);
    let mut number = || args.next().ok_or("usage: parcelry-wan MTU SEED HOST…");
    let mtu: usize = number()?.parse()?;
    let seed: u64 = number()?.parse()?;
    let mut routes = Vec::new();
    for arg in args {
        let host = Host::parse(&arg)?;
        let link = Link::new(host.shape, mtu, seed.wrapping_add(u64::from(host.address.to_bits())));
        routes.push(Route { host, link: Mutex::new(link), filled: Condvar::new() });
    }
    let network = Arc::new(Network { routes, origin: Instant::now() });
    for index in 0..network.routes.len() {
        let device = Arc::new(open_device(&network.routes[index].host.namespace, mtu)?);
        spawn(&network, &device, move |network, device| network.read(device, mtu))?;
        spawn(&network, &device, move |network, device| network.write(&network.routes[index], device))?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "counts" {
            network.print_counts(&mut out)?;
        } else {
            network.change(&Host::parse(&line)?)?;
        }
        out.flush()?;
    }
    Ok(())
}

/// A host, and what the line to it is like.
struct Host {
    namespace: String,
    address: Ipv4Addr,
    shape: Shape,
}

impl Host {
    fn parse(text: &str) -> Result<Self, Anything> {
        let mut parts = text.split(',');
        let namespace =
            parts.next().filter(|name| !name.is_empty()).ok_or("a host without a namespace")?.to_owned();
        let address = parts.next().ok_or("a host without an address")?.parse()?;
        let mut shape = Shape { delay_ns: 0, rate_mbit: 0, queue_bytes: 0, loss: 0.0 };
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("not KEY=VALUE: {part}"))?;
            match key {
                "delay" => shape.delay_ns = value.parse::<u64>()? * 1_000_000,
                "rate" => shape.rate_mbit = value.parse()?,
                "queue" => shape.queue_bytes = value.parse()?,
                "loss" => shape.loss = value.parse()?,
                _ => return Err(format!("a line has no {key}").into()),
            }
        }
        Ok(Self { namespace, address, shape })
    }
}

/// A thread changes into the namespace, opens the device there and ends: the others stay where they are.
fn open_device(namespace: &str, mtu: usize) -> Result<SyncDevice, Anything> {
    let directory =
        File::open(format!("/run/netns/{namespace}")).map_err(|error| format!("{namespace}: {error}"))?;
    let mtu = u16::try_from(mtu)?;
    let opening = thread::spawn(move || {
        move_into_link_name_space(directory.as_fd(), Some(LinkNameSpaceType::Network))?;
        let device = DeviceBuilder::new().name("wan0").mtu(mtu).enable(false);
        device.offload(true).tx_queue_len(DEVICE_QUEUE).build_sync()
    });
    opening
        .join()
        .map_err(|_| "the thread that opens a device died")?
        .map_err(|error| format!("{namespace}: {error}").into())
}

fn spawn(
    network: &Arc<Network>,
    device: &Arc<SyncDevice>,
    work: impl FnOnce(&Network, &SyncDevice) -> Result<(), Anything> + Send + 'static,
) -> io::Result<()> {
    let (network, device) = (Arc::clone(network), Arc::clone(device));
    thread::Builder::new().spawn(move || {
        if let Err(error) = work(&network, &device) {
            let _ = writeln!(io::stderr(), "parcelry-wan: {error}");
            // A network that works in part would be measured as a slow one.
            std::process::exit(1);
        }
    })?;
    Ok(())
}

struct Network {
    routes: Vec<Route>,
    origin: Instant,
}

struct Route {
    host: Host,
    link: Mutex<Link>,
    /// Tells the writer that a packet came into the empty line.
    filled: Condvar,
}

impl Network {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes what a host sends to the links of those it is for, for ever.
    fn read(&self, device: &SyncDevice, mtu: usize) -> Result<(), Anything> {
        let mut long = vec![0; VIRTIO_NET_HDR_LEN + usize::from(u16::MAX)];
        let mut packets = vec![vec![0; mtu]; IDEAL_BATCH_SIZE];
        let mut sizes = vec![0; IDEAL_BATCH_SIZE];
        loop {
            let count = device.recv_multiple(&mut long, &mut packets, &mut sizes, 0)?;
            let now_ns = self.now_ns();
            let packets = packets.iter().zip(&sizes).take(count).map(|(packet, &size)| &packet[..size]);
            // The segments of a long one all go to one host.
            let Some(route) = packets.clone().next().and_then(|first| self.route(first)) else { continue };
            let mut link = route.link.lock().unwrap_or_else(PoisonError::into_inner);
            let mut was_empty = false;
            for packet in packets {
                was_empty |= link.enter(packet, now_ns);
            }
            drop(link);
            if was_empty {
                route.filled.notify_one();
            }
        }
    }

    fn route(&self, packet: &[u8]) -> Option<&Route> {
        if packet.first()? >> 4 != 4 {
            return None;
        }
        let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
        self.routes.iter().find(|route| route.host.address.octets() == destination)
    }

    /// Hands what leaves the line of a host over to it, for ever.
    fn write(&self, route: &Route, device: &SyncDevice) -> Result<(), Anything> {
        // The kernel wants a header in front of each packet; joined packets grow to a long one in place.
        let offset = VIRTIO_NET_HDR_LEN;
        let buffer = || {
            let mut buffer = Vec::with_capacity(offset + usize::from(u16::MAX));
            buffer.resize(offset, 0);
            buffer
        };
        let mut batch: Vec<Vec<u8>> = (0..IDEAL_BATCH_SIZE).map(|_| buffer()).collect();
        let mut joined = GROTable::default();
        loop {
            let mut link = route.link.lock().unwrap_or_else(PoisonError::into_inner);
            let due_ns = loop {
                match link.due_ns() {
                    Some(due_ns) => break due_ns,
                    None => link = route.filled.wait(link).unwrap_or_else(PoisonError::into_inner),
                }
            };
            let now_ns = self.now_ns();
            let count = link.leave(&mut batch, offset, now_ns);
            drop(link);
            if count > 0 {
                device.send_multiple(&mut joined, &mut batch[..count], offset)?;
            } else {
                thread::sleep(Duration::from_nanos(due_ns - now_ns).max(TICK));
            }
        }
    }

    fn change(&self, new: &Host) -> Result<(), Anything> {
        let route = self.routes.iter().find(|route| route.host.address == new.address);
        let route = route.ok_or_else(|| format!("no host has the address {}", new.address))?;
        route.link.lock().unwrap_or_else(PoisonError::into_inner).shape = new.shape;
        Ok(())
    }

    /// A line for each host, what happened on the way to it since the last time, and `end`.
    fn print_counts(&self, out: &mut impl io::Write) -> io::Result<()> {
        for Route { host, link, .. } in &self.routes {
            let counts = std::mem::take(&mut link.lock().unwrap_or_else(PoisonError::into_inner).counts);
            writeln!(
                out,
                "{} packets={} bytes={} lost={} dropped={} overrun={} late_us_max={}",
                host.address,
                counts.packets,
                counts.bytes,
                counts.lost,
                counts.dropped,
                counts.overrun,
                counts.late_ns_max / 1_000
            )?;
        }
        writeln!(out, "end")
    }
}
