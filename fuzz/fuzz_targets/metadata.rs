//! Any bytes are refused, or are metadata that reads the same once more and leads below its own folder.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use swarmdrop_core::geometry::{ChunkSize, Geometry};
use swarmdrop_core::metadata::Metadata;

fuzz_target!(|input: (u16, &[u8])| {
    let (total, bytes) = input;
    let size = ChunkSize::from_log2(16).expect("the smallest chunk");
    let geometry = Geometry::new(u64::from(total), size).expect("a small share");
    if let Ok(metadata) = Metadata::decode(bytes, &geometry) {
        assert_eq!(Metadata::decode(&metadata.encode().unwrap(), &geometry).ok().as_ref(), Some(&metadata));
        for file in &metadata.files {
            let normal = |part| matches!(part, Component::Normal(_));
            assert!(Path::new(file.path.as_str()).components().all(normal));
        }
    }
});
