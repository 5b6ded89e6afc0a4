//! A swarm of real processes under random kills, stops, rot and lost disks, while people share and get. At the end
//! every share is accounted for. `tests/chaos.sh` runs it for ten minutes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one reports"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::person::{Person, Ran};
use common::samples;
use common::swarm::Swarm;
use swarmdrop_core::id::ChunkId;

const PEERS: usize = 6;
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
    shares: AtomicU64,
    shares_killed: AtomicU64,
    gets: AtomicU64,
    gets_killed: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
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

    /// Kills, stops, spoils and destroys, and starts again what is down.
    fn torment(&self, swarm: &mut Swarm, dice: &mut Dice, until: Instant) {
        let mut down: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut live: Vec<usize> = (0..PEERS).collect();
        while Instant::now() < until {
            dice.pause(200, 1500);
            let due: Vec<usize> =
                down.iter().filter(|(_, at)| Instant::now() >= **at).map(|(n, _)| *n).collect();
            for number in due {
                swarm.add_peer(number, &[]);
                down.remove(&number);
            }
            let number = live[dice.index(live.len())];
            if down.contains_key(&number) {
                continue;
            }
            match dice.below(20) {
                0..=7 => {
                    swarm.peers[number].kill();
                    self.counters.kills.fetch_add(1, Relaxed);
                    down.insert(number, Instant::now() + Duration::from_millis(dice.below(9000)));
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
                17 | 19 if down.is_empty() && self.is_expendable(swarm, number, &live) => {
                    swarm.peers[number].kill();
                    fs::remove_dir_all(swarm.peer_data(number)).unwrap();
                    self.counters.disks_lost.fetch_add(1, Relaxed);
                    live.retain(|&other| other != number);
                    live.push(swarm.peers.len());
                    swarm.add_peer(swarm.peers.len(), &[]);
                }
                18 if dice.below(2) == 0 => {
                    swarm.restart_tracker_after(|data| {
                        for name in ["tracker.db", "tracker.db-wal", "tracker.db-shm"] {
                            let _ = fs::remove_file(data.join(name));
                        }
                    });
                    self.counters.databases_lost.fetch_add(1, Relaxed);
                }
                _ => {}
            }
        }
        down.into_keys().for_each(|number| swarm.add_peer(number, &[]));
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
        let shares = |peer: usize| swarm.peer_data(peer).join("store/shares");
        let manifests = fs::read_dir(shares(number)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut others = live.iter().filter(|&&other| other != number);
        let has_all = manifests
            .into_iter()
            .all(|share| others.clone().any(|&other| shares(other).join(&share).join("manifest").exists()));
        others.next().is_some()
            && has_all
            && swarm.chunk_files(number).iter().all(|file| good_copies(swarm, file) > 1)
    }
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
    let seconds = setting("SWARMDROP_CHAOS_SECONDS", 60);
    let seed = setting("SWARMDROP_CHAOS_SEED", 1);
    println!("chaos for {seconds} s, seed {seed}");
    let mut swarm = Swarm::start_with(PEERS, &["--heartbeat", "500ms", "--dead-after", "5s"]);
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
        chaos.torment(&mut swarm, &mut Dice(seed), Instant::now() + Duration::from_secs(seconds));
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
        "{} kills, {} stops, {} rotten chunks, {} disks lost, {} databases lost; {} shares acknowledged \
         ({} kills of senders), {} gets ({} kills of receivers), refused or failed meanwhile: {:?}",
        c.kills.load(Relaxed),
        c.stops.load(Relaxed),
        c.rotted.load(Relaxed),
        c.disks_lost.load(Relaxed),
        c.databases_lost.load(Relaxed),
        c.shares.load(Relaxed),
        c.shares_killed.load(Relaxed),
        c.gets.load(Relaxed),
        c.gets_killed.load(Relaxed),
        c.failures.lock().unwrap(),
    );
    println!("all {} back at two replicas after {recovery} s: 0 lost, 0 wrong bytes", acknowledged.len());
}
