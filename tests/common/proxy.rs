//! A bad network between two processes: passes bytes on, late, for a while, or not at all.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With a FIN, as from a process that ends.
    Close,
    /// With a RST, as from a machine that does not know the connection any more.
    Reset,
    /// Not at all: nothing comes any more.
    Silence,
}

/// What the network does to a connection.
#[derive(Debug, Clone, Copy)]
pub enum Weather {
    Fair,
    /// Every piece comes late.
    Slow {
        delay: Duration,
    },
    /// The line carries so many bytes a second each way, of all its connections together.
    Narrow {
        bytes_per_second: usize,
    },
    /// The connection is cut after so many bytes towards the server, or towards the client.
    Cut {
        after: usize,
        towards_server: bool,
        how: Cut,
    },
    /// Nobody gets through.
    Partition,
    /// Whoever comes is turned away.
    Closed,
}

pub struct Proxy {
    pub address: String,
    weather: Arc<Mutex<Weather>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Listens on a free port for connections to `target`, which may be told later.
    pub fn start(target: Arc<Mutex<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let weather = Arc::new(Mutex::new(Weather::Fair));
        let connections = Arc::new(AtomicUsize::new(0));
        let (of_all, counted) = (Arc::clone(&weather), Arc::clone(&connections));
        let line = Arc::new([Line::default(), Line::default()]);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counted.fetch_add(1, Relaxed);
                let weather = *of_all.lock().unwrap();
                let target = target.lock().unwrap().clone();
                let line = Arc::clone(&line);
                thread::spawn(move || pass(client, &target, weather, &line));
            }
        });
        Self { address, weather, connections }
    }

    /// Changes the weather for connections that are made from now on.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

/// One direction of what all connections share: what is said at the same time waits its turn.
#[derive(Default)]
struct Line {
    free_at: Mutex<Option<Instant>>,
}

impl Line {
    /// Waits until the line has carried something that takes it so long.
    fn carry(&self, takes: Duration) {
        let now = Instant::now();
        let done = {
            let mut free_at = self.free_at.lock().unwrap();
            let done = free_at.map_or(now, |at| at.max(now)) + takes;
            *free_at = Some(done);
            done
        };
        thread::sleep(done - now);
    }
}

fn pass(client: TcpStream, target: &str, weather: Weather, line: &Arc<[Line; 2]>) {
    if matches!(weather, Weather::Partition) {
        thread::sleep(Duration::from_secs(20));
        return;
    }
    if matches!(weather, Weather::Closed) {
        return;
    }
    let Ok(server) = TcpStream::connect(target) else { return };
    let pair = |a: &TcpStream, b: &TcpStream| (a.try_clone().unwrap(), b.try_clone().unwrap());
    let (up, down) = (pair(&client, &server), pair(&server, &client));
    let upwards = Arc::clone(line);
    thread::spawn(move || pump(up.0, up.1, weather, true, &upwards[0]));
    pump(down.0, down.1, weather, false, &line[1]);
}

fn pump(mut from: TcpStream, mut to: TcpStream, weather: Weather, towards_server: bool, line: &Line) {
    let mut left = match weather {
        Weather::Cut { after, towards_server: wanted, .. } if wanted == towards_server => after,
        _ => usize::MAX,
    };
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        match weather {
            Weather::Slow { delay } => thread::sleep(delay),
            Weather::Narrow { bytes_per_second } => {
                line.carry(Duration::from_secs_f64(count as f64 / bytes_per_second as f64));
            }
            _ => {}
        }
        if to.write_all(&buffer[..count.min(left)]).is_err() {
            break;
        }
        left -= count.min(left);
        if left == 0
            && let Weather::Cut { how, .. } = weather
        {
            end(&from, &to, how);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn end(from: &TcpStream, to: &TcpStream, how: Cut) {
    match how {
        Cut::Silence => thread::sleep(Duration::from_secs(120)),
        Cut::Reset => {
            for side in [from, to] {
                let _ = rustix::net::sockopt::set_socket_linger(side, Some(Duration::ZERO));
                let _ = side.shutdown(Shutdown::Both);
            }
        }
        Cut::Close => {
            for side in [from, to] {
                let _ = side.shutdown(Shutdown::Both);
            }
        }
    }
}
