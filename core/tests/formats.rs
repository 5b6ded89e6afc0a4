//! The share format against test vectors of an independent implementation, both ways, and against
//! the project's own golden files for what the vectors do not cover.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::grant::{Grant, TrackerKey};
use parcelry_core::id::{ChunkId, Secret, TrackerId};
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::manifest::{Draft, Manifest, ShareKey};
use parcelry_core::metadata::Metadata;
use parcelry_core::seal::{Header, ShareKeys, access_hash, access_matches, access_token};
use parcelry_core::terms::{SignedTerms, Terms};
use serde_json::Value;

fn read(file: &str) -> Value {
    let path = format!("{}/../tests/formats/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn vectors() -> Vec<Value> {
    let vectors = read("vectors.json")["vectors"].as_array().unwrap().clone();
    assert_eq!(vectors.len(), 5);
    vectors
}

fn hex(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn hex_32(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

/// The stream that the vector's recipe describes.
fn content(vector: &Value) -> Vec<u8> {
    let files = vector["files"].as_array().unwrap();
    let of_file = |file: &Value| match &file["content_hex"] {
        Value::Null => {
            (0..file["size"].as_u64().unwrap()).map(|j| u8::try_from((j * 7 + 3) % 256).unwrap()).collect()
        }
        content => hex(content),
    };
    files.iter().flat_map(of_file).collect()
}

struct Share {
    secret: Secret,
    salt: [u8; 32],
    key: ShareKey,
    keys: ShareKeys,
    geometry: Geometry,
}

fn share(vector: &Value) -> Share {
    let log2 = u8::try_from(vector["log2_chunk"].as_u64().unwrap()).unwrap();
    let chunk_size = ChunkSize::from_log2(log2).unwrap();
    let secret = Secret::from_bytes(hex_32(&vector["secret"]));
    let salt = hex_32(&vector["salt"]);
    Share {
        keys: ShareKeys::derive(&secret, &salt, Header { chunk_size }),
        key: ShareKey::from_seed(&Secret::from_bytes(hex_32(&vector["signing_seed"]))),
        geometry: Geometry::new(vector["total"].as_u64().unwrap(), chunk_size).unwrap(),
        secret,
        salt,
    }
}

fn seal_all(share: &Share, content: &[u8]) -> Vec<Vec<u8>> {
    let seal = |index| {
        let range = share.geometry.plain_range(index);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let mut bytes = content[range].to_vec();
        share.keys.seal_chunk(&share.geometry, index, &mut bytes);
        bytes
    };
    share.geometry.indices().map(seal).collect()
}

#[test]
fn the_vectors_ids_and_tokens_are_reproduced() {
    for vector in vectors() {
        let share = share(&vector);
        assert_eq!(share.key.share_id().as_bytes(), &hex_32(&vector["share_id"]));
        assert_eq!(share.keys.commitment(), &hex_32(&vector["commit"]));
        assert_eq!(access_token(&share.secret).expose(), &hex_32(&vector["access"]));
        assert!(access_matches(&access_token(&share.secret), &access_hash(&access_token(&share.secret))));
    }
}

#[test]
fn the_vectors_derived_keys_are_the_ones_that_seal() {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    for vector in vectors() {
        let share = share(&vector);
        let raw = |key: &Value| LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &hex(key)).unwrap());
        let prefix = b"prefix";
        let sealed = share.keys.seal_metadata(prefix, b"text");
        let mut buffer = sealed.clone();
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let opened = raw(&vector["k_metadata"]).open_in_place(nonce, Aad::from(prefix), &mut buffer);
        assert_eq!(opened.unwrap(), b"text");
        if let Some(sealed) = seal_all(&share, &content(&vector)).first_mut() {
            let mut nonce = [0; 12];
            nonce[11] = u8::from(share.geometry.chunk_count() == 1);
            let nonce = Nonce::assume_unique_for_key(nonce);
            assert!(raw(&vector["k_chunk"]).open_in_place(nonce, Aad::empty(), sealed).is_ok());
        }
    }
}

#[test]
fn the_vectors_chunks_are_reproduced_and_opened() {
    for vector in vectors() {
        let share = share(&vector);
        let content = content(&vector);
        let mut sealed = seal_all(&share, &content);
        let lengths: Vec<usize> = sealed.iter().map(Vec::len).collect();
        assert_eq!(serde_json::json!(lengths), vector["sealed_lengths"]);
        let ids: Vec<String> = sealed.iter().map(|bytes| ChunkId::of(bytes).to_string()).collect();
        assert_eq!(serde_json::json!(ids), vector["chunk_ids"]);
        assert_eq!(serde_json::json!(ids.first()), vector["first_sealed_chunk_blake3"]);
        let mut opened = Vec::new();
        for (index, bytes) in share.geometry.indices().zip(&mut sealed) {
            share.keys.open_chunk(&share.geometry, index, bytes).unwrap();
            opened.extend_from_slice(bytes);
        }
        assert_eq!(opened, content);
    }
}

#[test]
fn the_vectors_manifests_are_reproduced_and_opened() {
    for vector in vectors() {
        let share = share(&vector);
        let json = vector["metadata_json"].as_str().unwrap();
        let metadata = Metadata::decode(json.as_bytes(), &share.geometry).unwrap();
        assert_eq!(String::from_utf8(metadata.encode().unwrap()).unwrap(), json);

        let ids: Vec<ChunkId> =
            seal_all(&share, &content(&vector)).iter().map(|bytes| ChunkId::of(bytes)).collect();
        let draft = Draft::new(&share.key, &share.keys, &share.salt, share.geometry, &ids);
        let manifest = draft.finish(&share.key, &share.keys, &metadata.encode().unwrap());
        assert_eq!(manifest.encoded(), hex(&vector["manifest_hex"]));

        let read = Manifest::decode(hex(&vector["manifest_hex"]), share.key.share_id()).unwrap();
        assert_eq!(read.chunks().map(|(_, id)| id).collect::<Vec<_>>(), ids);
        assert_eq!(u64::from(read.geometry().chunk_count()), vector["chunk_count"].as_u64().unwrap());
        assert_eq!(read.open(&share.secret).unwrap().metadata, metadata);
    }
}

#[test]
fn the_vectors_links_are_reproduced_and_read() {
    for vector in vectors() {
        let share = share(&vector);
        let link = ShareLink {
            tracker: "https://tracker.example:9090".parse().unwrap(),
            share: share.key.share_id(),
            secret: share.secret,
            tracker_id: Some(TrackerId::from_bytes(hex_32(&vector["tracker_id"]))),
        };
        assert_eq!(link.expose_text(), vector["link"].as_str().unwrap());
        assert_eq!(vector["link"].as_str().unwrap().parse(), Ok(link));
    }
}

/// Ed25519 is deterministic, so a second implementation can reproduce these tokens to the byte.
#[test]
fn the_golden_terms_and_invites_are_reproduced_and_read() {
    let golden = read("golden.json");
    let key = ShareKey::from_seed(&Secret::from_bytes(hex_32(&golden["signing_seed"])));
    for entry in golden["terms"].as_array().unwrap() {
        let terms: Terms = serde_json::from_str(entry["payload"].as_str().unwrap()).unwrap();
        let signed = SignedTerms::sign(&key, terms);
        assert_eq!(*signed.token, *entry["token"].as_str().unwrap());
        assert_eq!(SignedTerms::verify(&signed.token, key.share_id()), Ok(signed));
    }
    for entry in golden["invites"].as_array().unwrap() {
        let invite = Invite {
            tracker: entry["tracker"].as_str().unwrap().parse().unwrap(),
            tracker_id: TrackerId::from_bytes(hex_32(&entry["tracker_id"])),
            token: Secret::from_bytes(hex_32(&entry["token"])),
        };
        assert_eq!(invite.expose_text(), entry["invite"].as_str().unwrap());
        assert_eq!(entry["invite"].as_str().unwrap().parse(), Ok(invite));
    }
}

#[test]
fn the_golden_grants_are_reproduced_and_read() {
    let golden = read("golden.json");
    let key = TrackerKey::from_seed(&Secret::from_bytes(hex_32(&golden["signing_seed"])));
    for entry in golden["grants"].as_array().unwrap() {
        let grant: Grant = serde_json::from_str(entry["payload"].as_str().unwrap()).unwrap();
        assert_eq!(*key.sign(&grant), *entry["token"].as_str().unwrap());
        assert_eq!(key.public().verify(entry["token"].as_str().unwrap()), Ok(grant));
    }
    // The one of the fuzzer's corpus is made with its key.
    let key = TrackerKey::from_seed(&Secret::from_bytes([5; 32]));
    let grant: Grant = serde_json::from_str(golden["grants"][0]["payload"].as_str().unwrap()).unwrap();
    let corpus = format!("{}/../fuzz/corpus/grant/good", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(*key.sign(&grant), std::fs::read_to_string(corpus).unwrap());
}
