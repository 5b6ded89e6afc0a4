//! A swarm of real processes under random kills, stops, closed doors, rot, flipped bits, lost disks and restored trackers,
//! while people share and get. At the end every share is accounted for. `tests/chaos.sh` runs it for ten minutes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one reports"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::person::{Person, Ran};
use common::proxy::{Proxy, Weather};
use common::swarm::Swarm;
use common::{copy_directory, flip_a_bit, samples};
use parcelry_core::id::ChunkId;

const PEERS: usize = 6;
/// Those of them that are reached through doors.
const DOORS: usize = 2;
/// What is kept of a share at a peer, beside the chunks.
const RECORDS: [&str; 3] = ["manifest", "terms", "chunks"];
/// Time for the swarm to be whole again after the last fault.
const RECOVERY: Duration = Duration::from_secs(180);

/// What a sender was told is safe.
#[derive(Clone)]
struct Acknowledged {
    link: String,
    seed: String,
    bytes: usize,
}

#[derive(Default)]
struct Counters {
    kills: AtomicU64,
    stops: AtomicU64,
    rotted: AtomicU64,
    disks_lost: AtomicU64,
    databases_lost: AtomicU64,
    trackers_restored: AtomicU64,
    doors_closed: AtomicU64,
    records_damaged: AtomicU64,
    shares: AtomicU64,
    shares_killed: AtomicU64,
    gets: AtomicU64,
    gets_killed: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
}

/// The way to a peer, which can be closed while the peer beats on.
struct Door {
    proxy: Proxy,
    listen: String,
}

/// Peers that are down, and doors that are closed, until when.
#[derive(Default)]
struct Trouble {
    doors: Vec<Door>,
    down: BTreeMap<usize, Instant>,
    closed: BTreeMap<usize, Instant>,
}

impl Trouble {
    /// Starts a peer, and opens its door: it joins only when it is reached.
    fn start(&mut self, swarm: &mut Swarm, number: usize) {
        match self.doors.get(number) {
            Some(door) => {
                door.proxy.set(Weather::Fair);
                self.closed.remove(&number);
                swarm.add_peer(number, &["--listen", &door.listen, "--public-addr", &door.proxy.address]);
            }
            None => swarm.add_peer(number, &[]),
        }
    }

    /// Ends what is to end now.
    fn end(&mut self, swarm: &mut Swarm, now: Option<Instant>) {
        let is_due =
            |(number, until): (&usize, &Instant)| now.is_none_or(|now| now >= *until).then_some(*number);
        for number in self.down.iter().filter_map(is_due).collect::<Vec<_>>() {
            self.start(swarm, number);
            self.down.remove(&number);
        }
        for number in self.closed.iter().filter_map(is_due).collect::<Vec<_>>() {
            self.doors[number].proxy.set(Weather::Fair);
            self.closed.remove(&number);
        }
    }

    fn kill(&mut self, swarm: &mut Swarm, number: usize, dice: &mut Dice) {
        swarm.peers[number].kill();
        self.down.insert(number, Instant::now() + Duration::from_millis(dice.below(9000)));
    }
}

/// A way to a peer that does not run yet. Nobody else takes its port while it is down: those who call come from another
/// address.
fn door(number: usize) -> Door {
    let host = if cfg!(target_os = "linux") { format!("127.0.1.{}", number + 1) } else { "127.0.0.1".into() };
    let free = std::net::TcpListener::bind((host.as_str(), 0)).unwrap();
    let listen = free.local_addr().unwrap().to_string();
    Door { proxy: Proxy::start(Arc::new(Mutex::new(listen.clone()))), listen }
}

struct Chaos {
    over: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
    counters: Counters,
}

/// Choices in a real world: a seed makes them again, the operating system decides when.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) {
        sleep(Duration::from_millis(from_ms + self.below(to_ms - from_ms)));
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl Chaos {
    fn failed(&self, what: &str, ran: &Ran) {
        *self.counters.failures.lock().unwrap().entry(format!("{what} {}", ran.code)).or_default() += 1;
    }

    /// Lets a command run, or kills it after a while; what it came to, if it was let.
    fn end(&self, mut child: Child, dice: &mut Dice, killed: &AtomicU64) -> Option<Ran> {
        if dice.below(6) == 0 {
            dice.pause(5, 300);
            let _ = child.kill();
            let ran = Ran::of(child.wait_with_output().unwrap());
            if ran.code == 0 {
                return Some(ran);
            }
            killed.fetch_add(1, Relaxed);
            return None;
        }
        Some(Ran::of(child.wait_with_output().unwrap()))
    }

    fn keep_sharing(&self, person: &Person, number: u64, dice: &mut Dice) {
        let mut count = 0;
        while !self.over.load(Relaxed) {
            count += 1;
            let seed = format!("{number} {count}");
            let bytes = [dice.index(300), dice.index(65_536 * 3), dice.index(3 << 20)][dice.index(3)];
            let name = format!("file{count}");
            person.write(&name, &samples::bytes(&seed, bytes));
            let args = ["share", "--chunk-size", "64KiB", "--wait", "20s", name.as_str()];
            for _ in 0..20 {
                let Some(ran) = self.end(person.start(&args), dice, &self.counters.shares_killed) else {
                    continue;
                };
                if ran.code == 0 {
                    let link = ran.link();
                    self.acknowledged.lock().unwrap().push(Acknowledged { link, seed: seed.clone(), bytes });
                    self.counters.shares.fetch_add(1, Relaxed);
                    break;
                }
                assert!([1, 5, 6, 8].contains(&ran.code), "share: {}", ran.stderr);
                self.failed("share", &ran);
                dice.pause(100, 1000);
            }
            fs::remove_file(person.path(&name)).unwrap();
            dice.pause(10, 800);
        }
    }

    fn keep_getting(&self, person: &Person, dice: &mut Dice) {
        while !self.over.load(Relaxed) {
            dice.pause(10, 300);
            let known = self.acknowledged.lock().unwrap().clone();
            if known.is_empty() {
                continue;
            }
            let wanted = &known[dice.index(known.len())];
            for _ in 0..10 {
                let child = person.start(&["get", &wanted.link, "-o", "got"]);
                let Some(ran) = self.end(child, dice, &self.counters.gets_killed) else { continue };
                // 9: one that was killed had just given the file its name, so it must be whole.
                if ran.code == 0 || ran.code == 9 {
                    check(person, wanted);
                    self.counters.gets.fetch_add(1, Relaxed);
                    break;
                }
                // 4: the tracker has just lost its database; 7: the good copy is at a peer that is away.
                assert!([4, 5, 7].contains(&ran.code), "get: {} {}", ran.code, ran.stderr);
                self.failed("get", &ran);
                dice.pause(100, 1000);
            }
            let _ = fs::remove_file(person.path("got"));
        }
    }

    /// Kills, stops, shuts out, spoils and destroys, and starts again what is down.
    fn torment(&self, swarm: &mut Swarm, doors: Vec<Door>, dice: &mut Dice, until: Instant) {
        let mut trouble = Trouble { doors, ..Trouble::default() };
        let mut live: Vec<usize> = (0..PEERS).collect();
        while Instant::now() < until {
            dice.pause(200, 1500);
            trouble.end(swarm, Some(Instant::now()));
            let number = live[dice.index(live.len())];
            if trouble.down.contains_key(&number) {
                continue;
            }
            match dice.below(24) {
                0..=7 => {
                    trouble.kill(swarm, number, dice);
                    self.counters.kills.fetch_add(1, Relaxed);
                }
                8..=10 => {
                    swarm.restart_tracker();
                    self.counters.kills.fetch_add(1, Relaxed);
                }
                11 | 12 => {
                    swarm.peers[number].freeze(Duration::from_millis(500 + dice.below(6000)));
                    self.counters.stops.fetch_add(1, Relaxed);
                }
                13..=16 => self.rot(swarm, number, dice),
                17 | 19 if trouble.down.is_empty() && self.is_expendable(swarm, number, &live) => {
                    swarm.peers[number].kill();
                    fs::remove_dir_all(swarm.peer_data(number)).unwrap();
                    self.counters.disks_lost.fetch_add(1, Relaxed);
                    live.retain(|&other| other != number);
                    live.push(swarm.peers.len());
                    swarm.add_peer(swarm.peers.len(), &[]);
                }
                18 if dice.below(2) == 0 => self.lose_database(swarm),
                18 | 20 if dice.below(2) == 0 => copy_tracker(swarm),
                18 | 20 => self.restore_tracker(swarm),
                21 | 22 => {
                    let number = dice.index(DOORS);
                    trouble.doors[number].proxy.set(Weather::Closed);
                    trouble.closed.insert(number, Instant::now() + Duration::from_millis(dice.below(9000)));
                    self.counters.doors_closed.fetch_add(1, Relaxed);
                }
                23 => self.damage_a_record(swarm, &mut trouble, number, dice),
                _ => {}
            }
        }
        trouble.end(swarm, None);
    }

    fn lose_database(&self, swarm: &mut Swarm) {
        swarm.restart_tracker_after(|data| {
            for name in ["tracker.db", "tracker.db-wal", "tracker.db-shm"] {
                let _ = fs::remove_file(data.join(name));
            }
        });
        self.counters.databases_lost.fetch_add(1, Relaxed);
    }

    /// The tracker's directory becomes what it was when it was copied last.
    fn restore_tracker(&self, swarm: &mut Swarm) {
        let copy = copy_of_tracker(swarm);
        swarm.restart_tracker_after(|data| {
            fs::remove_dir_all(data).unwrap();
            copy_directory(&copy, data);
        });
        self.counters.trackers_restored.fetch_add(1, Relaxed);
    }

    /// A bit flips in a record of a share that another peer holds, too, and the peer starts again.
    fn damage_a_record(&self, swarm: &mut Swarm, trouble: &mut Trouble, number: usize, dice: &mut Dice) {
        let shares = share_directories(swarm, number);
        if shares.is_empty() {
            return;
        }
        let share = &shares[dice.index(shares.len())];
        let name = share.file_name().unwrap();
        let elsewhere = (0..swarm.peers.len()).filter(|&other| other != number);
        let is_same =
            |other| has_same_records(share, &swarm.peer_data(other).join("store/shares").join(name));
        if elsewhere.into_iter().any(is_same) {
            trouble.kill(swarm, number, dice);
            flip_a_bit(&share.join(RECORDS[dice.index(RECORDS.len())]));
            self.counters.records_damaged.fetch_add(1, Relaxed);
        }
    }

    /// Flips a bit of a chunk of which there is another good copy.
    fn rot(&self, swarm: &Swarm, number: usize, dice: &mut Dice) {
        let files = swarm.chunk_files(number);
        if files.is_empty() {
            return;
        }
        let file = &files[dice.index(files.len())];
        if good_copies(swarm, file) > 1
            && let Ok(mut bytes) = fs::read(file)
        {
            let at = dice.index(bytes.len());
            bytes[at] ^= 1;
            if fs::write(file, bytes).is_ok() {
                self.counters.rotted.fetch_add(1, Relaxed);
            }
        }
    }

    /// Whether everything on a peer's disk has a good copy elsewhere.
    fn is_expendable(&self, swarm: &Swarm, number: usize, live: &[usize]) -> bool {
        let others = || live.iter().filter(|&&other| other != number);
        let is_elsewhere = |share: &PathBuf| {
            let there = |other| swarm.peer_data(other).join("store/shares").join(share.file_name().unwrap());
            others().any(|&other| has_same_records(share, &there(other)))
        };
        others().next().is_some()
            && share_directories(swarm, number).iter().all(is_elsewhere)
            && swarm.chunk_files(number).iter().all(|file| good_copies(swarm, file) > 1)
    }
}

fn copy_of_tracker(swarm: &Swarm) -> PathBuf {
    swarm.directory.path().join("copy")
}

fn copy_tracker(swarm: &mut Swarm) {
    let copy = copy_of_tracker(swarm);
    let _ = fs::remove_dir_all(&copy);
    swarm.restart_tracker_after(|data| copy_directory(data, &copy));
}

fn share_directories(swarm: &Swarm, number: usize) -> Vec<PathBuf> {
    let shares = fs::read_dir(swarm.peer_data(number).join("store/shares")).unwrap();
    let mut shares: Vec<PathBuf> = shares.map(|entry| entry.unwrap().path()).collect();
    shares.retain(|share| RECORDS.iter().all(|name| share.join(name).exists()));
    shares.sort();
    shares
}

/// Whether two peers have the same manifest and terms of a share: then neither was damaged.
fn has_same_records(share: &Path, other: &Path) -> bool {
    let same = |name| {
        fs::read(share.join(name)).is_ok_and(|bytes| fs::read(other.join(name)).is_ok_and(|b| b == bytes))
    };
    same("manifest") && same("terms")
}

fn good_copies(swarm: &Swarm, file: &std::path::Path) -> usize {
    let name = file.file_name().unwrap().to_str().unwrap();
    let path =
        |number| -> PathBuf { swarm.peer_data(number).join("store/chunks").join(&name[..2]).join(name) };
    let is_good =
        |number: &usize| fs::read(path(*number)).is_ok_and(|bytes| ChunkId::of(&bytes).to_string() == name);
    (0..swarm.peers.len()).filter(is_good).count()
}

fn check(person: &Person, wanted: &Acknowledged) {
    let right = person.read("got") == samples::bytes(&wanted.seed, wanted.bytes);
    assert!(right, "wrong bytes were delivered for {}", wanted.seed);
}

#[test]
#[ignore = "takes minutes: tests/chaos.sh runs it"]
fn real_processes_lose_no_acknowledged_share() {
    let seconds = setting("PARCELRY_CHAOS_SECONDS", 60);
    let seed = setting("PARCELRY_CHAOS_SEED", 1);
    println!("chaos for {seconds} s, seed {seed}");
    let mut swarm = Swarm::start_with(0, &["--heartbeat", "500ms", "--dead-after", "5s"]);
    let mut begin = Trouble { doors: (0..DOORS).map(door).collect(), ..Trouble::default() };
    (0..PEERS).for_each(|number| begin.start(&mut swarm, number));
    copy_tracker(&mut swarm);
    let chaos =
        Chaos { over: AtomicBool::new(false), acknowledged: Mutex::default(), counters: Counters::default() };
    let people: Vec<Person> = (0..4).map(|_| swarm.person()).collect();
    std::thread::scope(|scope| {
        let [alice, carol, bob, dave] = &people[..] else { panic!("four people") };
        let chaos = &chaos;
        scope.spawn(|| chaos.keep_sharing(alice, 1, &mut Dice(seed + 1)));
        scope.spawn(|| chaos.keep_sharing(carol, 2, &mut Dice(seed + 2)));
        scope.spawn(|| chaos.keep_getting(bob, &mut Dice(seed + 3)));
        scope.spawn(|| chaos.keep_getting(dave, &mut Dice(seed + 4)));
        chaos.torment(
            &mut swarm,
            begin.doors,
            &mut Dice(seed),
            Instant::now() + Duration::from_secs(seconds),
        );
        chaos.over.store(true, Relaxed);
    });
    let begin = Instant::now();
    let reader = swarm.person();
    let acknowledged = chaos.acknowledged.lock().unwrap().clone();
    for known in &acknowledged {
        while reader.fewest_replicas(&known.link) < 2 {
            assert!(begin.elapsed() < RECOVERY, "{} is not back at two replicas: {}", known.seed, known.link);
            sleep(Duration::from_millis(200));
        }
    }
    let recovery = begin.elapsed().as_secs();
    for known in &acknowledged {
        let ran = reader.run(&["get", &known.link, "-o", "got"]);
        assert_eq!(ran.code, 0, "lost: {} {}", known.seed, ran.stderr);
        check(&reader, known);
        fs::remove_file(reader.path("got")).unwrap();
    }
    let c = &chaos.counters;
    println!(
        "{} kills, {} stops, {} doors closed, {} rotten chunks, {} damaged records, {} disks lost, {} databases lost, \
         {} trackers restored; {} shares acknowledged \
         ({} kills of senders), {} gets ({} kills of receivers), refused or failed meanwhile: {:?}",
        c.kills.load(Relaxed),
        c.stops.load(Relaxed),
        c.doors_closed.load(Relaxed),
        c.rotted.load(Relaxed),
        c.records_damaged.load(Relaxed),
        c.disks_lost.load(Relaxed),
        c.databases_lost.load(Relaxed),
        c.trackers_restored.load(Relaxed),
        c.shares.load(Relaxed),
        c.shares_killed.load(Relaxed),
        c.gets.load(Relaxed),
        c.gets_killed.load(Relaxed),
        c.failures.lock().unwrap(),
    );
    println!("all {} back at two replicas after {recovery} s: 0 lost, 0 wrong bytes", acknowledged.len());
}
