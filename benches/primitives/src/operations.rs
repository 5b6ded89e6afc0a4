//! What is measured: each operation, in each library that has it.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;

use aes_gcm::{AeadInOut as _, KeyInit as _};
use graviola::hashing::Hash as _;
use rustix::time::{ClockId, clock_gettime};

const MIB: usize = 1 << 20;
/// The most that a TLS record carries.
const RECORD: usize = 16 << 10;
const TAG: usize = 16;
/// The same for every message: nobody is to be kept from reading these.
const NONCE: [u8; 12] = [7; 12];
const KEY: [u8; 32] = [5; 32];
/// The units in which rows are told.
const GIGA: f64 = 1e9;
const KILO: f64 = 1e3;

/// A row of the table.
pub(crate) struct Operation {
    pub(crate) name: String,
    /// What a second's work is divided by.
    pub(crate) unit: f64,
    pub(crate) contenders: Vec<Contender>,
}

impl Operation {
    fn new(name: impl Into<String>, unit: f64, contenders: Vec<Contender>) -> Self {
        Self { name: name.into(), unit, contenders }
    }
}

/// One operation in one library.
pub(crate) struct Contender {
    pub(crate) library: &'static str,
    /// How much a call does: bytes, or one.
    amount: f64,
    /// Does it once. Returns the CPU time that it took, without what was needed to prepare it.
    call: Box<dyn FnMut() -> f64>,
}

impl Contender {
    fn new(library: &'static str, amount: f64, call: impl FnMut() -> f64 + 'static) -> Self {
        Self { library, amount, call: Box::new(call) }
    }

    /// How much is done in a second of CPU time, by calling for as long as `turn_seconds`.
    pub(crate) fn per_second(&mut self, turn_seconds: f64) -> f64 {
        let (mut seconds, mut done) = (0.0, 0.0);
        while seconds < turn_seconds {
            seconds += (self.call)();
            done += self.amount;
        }
        done / seconds
    }
}

/// All that is measured, in the order of the table.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(seal_and_open("AES-256-GCM", aes_256_gcm, MIB));
    all.extend(seal_and_open("AES-128-GCM", aes_128_gcm, RECORD));
    all.extend(seal_and_open("AES-256-GCM", aes_256_gcm, RECORD));
    all.extend(seal_and_open("ChaCha20-Poly1305", chacha20_poly1305, MIB));
    all.extend([blake3(), sha256(), x25519(), memcpy()]);
    all.extend(ram_disk());
    all.push(loopback());
    all
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let begun = cpu_seconds();
    black_box(work());
    cpu_seconds() - begun
}

/// CPU time of this thread so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

// --- Sealing and opening

/// A key of a library.
trait Cipher {
    fn seal(&self, text: &mut [u8]) -> [u8; TAG];

    /// Opens what was sealed, in place: the text with its tag behind it.
    fn open(&self, sealed: &mut [u8]);
}

/// A key of each library.
type Ciphers = Vec<(&'static str, Box<dyn Cipher>)>;

/// 1 MiB in messages of so many bytes: a chunk is one message, what goes through TLS is in records.
fn seal_and_open(algorithm: &str, ciphers: fn() -> Ciphers, message: usize) -> [Operation; 2] {
    let (mut seal, mut open) = (Vec::new(), Vec::new());
    for ((library, sealing), (_, opening)) in ciphers().into_iter().zip(ciphers()) {
        let mut buffer = vec![1_u8; MIB / message * (message + TAG)];
        let mut sealed = buffer.clone();
        seal_all(&*opening, &mut sealed, message);
        let mut opened = sealed.clone();
        let call = move || timed(|| seal_all(&*sealing, &mut buffer, message));
        seal.push(Contender::new(library, MIB as f64, call));
        let call = move || {
            opened.copy_from_slice(&sealed);
            timed(|| open_all(&*opening, &mut opened, message))
        };
        open.push(Contender::new(library, MIB as f64, call));
    }
    let what = if message == MIB { "1 MiB" } else { "1 MiB in records of 16 KiB" };
    [
        Operation::new(format!("{algorithm}, seal {what}"), GIGA, seal),
        Operation::new(format!("{algorithm}, open {what}"), GIGA, open),
    ]
}

fn seal_all(cipher: &dyn Cipher, buffer: &mut [u8], message: usize) {
    for sealed in buffer.chunks_exact_mut(message + TAG) {
        let (text, tag) = sealed.split_at_mut(message);
        tag.copy_from_slice(&cipher.seal(text));
    }
}

fn open_all(cipher: &dyn Cipher, buffer: &mut [u8], message: usize) {
    buffer.chunks_exact_mut(message + TAG).for_each(|sealed| cipher.open(sealed));
}

fn boxed(cipher: impl Cipher + 'static) -> Box<dyn Cipher> {
    Box::new(cipher)
}

fn aes_256_gcm() -> Ciphers {
    vec![
        ("aws-lc-rs", aws_lc_rs_key(&aws_lc_rs::aead::AES_256_GCM, &KEY)),
        ("ring", ring_key(&ring::aead::AES_256_GCM, &KEY)),
        ("graviola", boxed(graviola::aead::AesGcm::new(&KEY))),
        ("aes-gcm", boxed(aes_gcm::Aes256Gcm::new_from_slice(&KEY).expect("the key has 32 bytes"))),
    ]
}

fn aes_128_gcm() -> Ciphers {
    let key = &KEY[..16];
    vec![
        ("aws-lc-rs", aws_lc_rs_key(&aws_lc_rs::aead::AES_128_GCM, key)),
        ("ring", ring_key(&ring::aead::AES_128_GCM, key)),
        ("graviola", boxed(graviola::aead::AesGcm::new(key))),
        ("aes-gcm", boxed(aes_gcm::Aes128Gcm::new_from_slice(key).expect("the key has 16 bytes"))),
    ]
}

fn chacha20_poly1305() -> Ciphers {
    vec![
        ("aws-lc-rs", aws_lc_rs_key(&aws_lc_rs::aead::CHACHA20_POLY1305, &KEY)),
        ("ring", ring_key(&ring::aead::CHACHA20_POLY1305, &KEY)),
        ("graviola", boxed(graviola::aead::ChaCha20Poly1305::new(KEY))),
    ]
}

/// ring's interface, which aws-lc-rs has as well.
macro_rules! like_ring {
    ($library:ident, $key:ident) => {
        impl Cipher for $library::aead::LessSafeKey {
            fn seal(&self, text: &mut [u8]) -> [u8; TAG] {
                let nonce = $library::aead::Nonce::assume_unique_for_key(NONCE);
                let sealed = self.seal_in_place_separate_tag(nonce, $library::aead::Aad::empty(), text);
                sealed.expect("it fits").as_ref().try_into().expect("a tag has 16 bytes")
            }

            fn open(&self, sealed: &mut [u8]) {
                let nonce = $library::aead::Nonce::assume_unique_for_key(NONCE);
                let opened = self.open_in_place(nonce, $library::aead::Aad::empty(), sealed);
                black_box(opened.expect("it was sealed so"));
            }
        }

        fn $key(algorithm: &'static $library::aead::Algorithm, key: &[u8]) -> Box<dyn Cipher> {
            let key = $library::aead::UnboundKey::new(algorithm, key).expect("the key has the right length");
            boxed($library::aead::LessSafeKey::new(key))
        }
    };
}

like_ring!(aws_lc_rs, aws_lc_rs_key);
like_ring!(ring, ring_key);

macro_rules! of_graviola {
    ($cipher:ident) => {
        impl Cipher for graviola::aead::$cipher {
            fn seal(&self, text: &mut [u8]) -> [u8; TAG] {
                let mut tag = [0; TAG];
                self.encrypt(&NONCE, &[], text, &mut tag);
                tag
            }

            fn open(&self, sealed: &mut [u8]) {
                let message = sealed.len() - TAG;
                let (text, tag) = sealed.split_at_mut(message);
                self.decrypt(&NONCE, &[], text, tag).expect("it was sealed so");
            }
        }
    };
}

of_graviola!(AesGcm);
of_graviola!(ChaCha20Poly1305);

macro_rules! of_rust_crypto {
    ($cipher:ident) => {
        impl Cipher for aes_gcm::$cipher {
            fn seal(&self, text: &mut [u8]) -> [u8; TAG] {
                let nonce = aes_gcm::Nonce::from(NONCE);
                self.encrypt_inout_detached(&nonce, &[], text.into()).expect("it fits").into()
            }

            fn open(&self, sealed: &mut [u8]) {
                let message = sealed.len() - TAG;
                let (text, tag) = sealed.split_at_mut(message);
                let tag: [u8; TAG] = (&*tag).try_into().expect("a tag has 16 bytes");
                let (nonce, tag) = (aes_gcm::Nonce::from(NONCE), aes_gcm::Tag::from(tag));
                self.decrypt_inout_detached(&nonce, &[], text.into(), &tag).expect("it was sealed so");
            }
        }
    };
}

of_rust_crypto!(Aes128Gcm);
of_rust_crypto!(Aes256Gcm);

// --- The others

fn blake3() -> Operation {
    let contenders = vec![hashing("blake3", |bytes| blake3::hash(bytes).as_bytes()[0])];
    Operation::new("BLAKE3 of 1 MiB", GIGA, contenders)
}

fn sha256() -> Operation {
    let aws = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref()[0];
    let ring = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[0];
    let graviola = |bytes: &[u8]| graviola::hashing::Sha256::hash(bytes).as_ref()[0];
    let contenders = vec![hashing("aws-lc-rs", aws), hashing("ring", ring), hashing("graviola", graviola)];
    Operation::new("SHA-256 of 1 MiB", GIGA, contenders)
}

/// What a hash returns is looked at, so that it is made.
fn hashing(library: &'static str, hash: impl Fn(&[u8]) -> u8 + 'static) -> Contender {
    let bytes = vec![1_u8; MIB];
    Contender::new(library, MIB as f64, move || timed(|| hash(&bytes)))
}

/// What a handshake needs of each side: a new key, its public half, and the secret in common with the other's.
fn x25519() -> Operation {
    let contenders = vec![
        Contender::new("aws-lc-rs", 1.0, aws_lc_rs_x25519()),
        Contender::new("ring", 1.0, ring_x25519()),
        Contender::new("graviola", 1.0, graviola_x25519()),
    ];
    Operation::new("X25519, a key and an agreement: thousands a second", KILO, contenders)
}

fn aws_lc_rs_x25519() -> impl FnMut() -> f64 {
    use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
    let new = || PrivateKey::generate(&X25519).expect("there is randomness");
    let public = |key: &PrivateKey| key.compute_public_key().expect("a key has a public half");
    let peer = UnparsedPublicKey::new(&X25519, public(&new()).as_ref().to_vec());
    move || {
        timed(|| {
            let own = new();
            let shown = public(&own).as_ref()[0];
            let secret = agree(&own, &peer, (), |secret| Ok(secret[0])).expect("the peer's key is good");
            (shown, secret)
        })
    }
}

fn ring_x25519() -> impl FnMut() -> f64 {
    use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
    let random = ring::rand::SystemRandom::new();
    let new = move || EphemeralPrivateKey::generate(&X25519, &random).expect("there is randomness");
    let public = |key: &EphemeralPrivateKey| key.compute_public_key().expect("a key has a public half");
    let peer = UnparsedPublicKey::new(&X25519, public(&new()).as_ref().to_vec());
    move || {
        timed(|| {
            let own = new();
            let shown = public(&own).as_ref()[0];
            let secret = agree_ephemeral(own, &peer, |secret| secret[0]).expect("the peer's key is good");
            (shown, secret)
        })
    }
}

fn graviola_x25519() -> impl FnMut() -> f64 {
    use graviola::key_agreement::x25519::PrivateKey;
    let new = || PrivateKey::new_random().expect("there is randomness");
    let peer = new().public_key();
    move || {
        timed(|| {
            let own = new();
            let shown = own.public_key().as_bytes()[0];
            let secret = own.diffie_hellman(&peer).expect("the peer's key is good");
            (shown, secret.0[0])
        })
    }
}

/// What there is to lose by a copy.
fn memcpy() -> Operation {
    let (from, mut to) = (vec![1_u8; MIB], vec![0_u8; MIB]);
    let call = move || timed(|| black_box(&mut to[..]).copy_from_slice(black_box(&from[..])));
    let contenders = vec![Contender::new("std", MIB as f64, call)];
    Operation::new("memcpy of 1 MiB", GIGA, contenders)
}

// --- The kernel's part

/// What a peer reads at once.
const PIECE: usize = 256 << 10;

/// A chunk read piece by piece, and written to a file that has no pages yet.
fn ram_disk() -> [Operation; 2] {
    let file = || {
        let path = format!("/dev/shm/parcelry-primitives-{}", std::process::id());
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.expect("a RAM disk is at /dev/shm");
        // Its name is not needed.
        std::fs::remove_file(&path).expect("it was just made");
        file
    };
    let (from, to) = (file(), file());
    let (chunk, mut buffer) = (vec![7_u8; MIB], vec![0_u8; PIECE]);
    from.write_all_at(&chunk, 0).expect("a MiB fits");
    let read = move || {
        timed(|| {
            for piece in 0..MIB / PIECE {
                from.read_exact_at(&mut buffer, (piece * PIECE) as u64).expect("it was written");
            }
        })
    };
    let write = move || {
        to.set_len(0).expect("it is cut off");
        timed(|| to.write_all_at(&chunk, 0).expect("a MiB fits"))
    };
    [
        Operation::new("RAM disk, read 1 MiB", GIGA, vec![Contender::new("kernel", MIB as f64, read)]),
        Operation::new("RAM disk, write 1 MiB anew", GIGA, vec![Contender::new("kernel", MIB as f64, write)]),
    ]
}

/// What both ends of a connection cost together.
fn loopback() -> Operation {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut sender = TcpStream::connect(listener.local_addr().expect("it listens")).expect("it listens");
    let (mut receiver, _) = listener.accept().expect("somebody has connected");
    let (sent, mut received) = (vec![7_u8; 64 << 10], vec![0_u8; 64 << 10]);
    // As much as fits into the buffers of a new connection: one thread does both, and waits for nobody.
    let call = move || {
        timed(|| {
            sender.write_all(&sent).expect("it fits");
            receiver.read_exact(&mut received).expect("it is on its way");
        })
    };
    let kernel = vec![Contender::new("kernel", (64 << 10) as f64, call)];
    Operation::new("TCP over loopback, 64 KiB, both ends", GIGA, kernel)
}
