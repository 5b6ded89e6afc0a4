//! Any bytes are refused, or are metadata that reads the same once more and leads below its own directory.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::metadata::{Metadata, MetadataError};
use parcelry_core::name::SafePath;

fuzz_target!(|input: (u16, &[u8])| {
    let (total, bytes) = input;
    let size = ChunkSize::from_log2(16).expect("the smallest chunk");
    let geometry = Geometry::new(u64::from(total), size).expect("a small share");
    let said = |error: MetadataError| error.to_string();
    let decoded = Metadata::decode(bytes, &geometry).map_err(said);
    // In one pass and in several it is read alike, or refused for the same reason.
    assert_eq!(decoded, Metadata::decode_in_passes(bytes, &geometry).map_err(said));
    if let Ok(metadata) = decoded {
        assert_eq!(Metadata::decode(&metadata.encode().unwrap(), &geometry).ok().as_ref(), Some(&metadata));
        let links = metadata.links.iter().map(|link| &link.path);
        for path in metadata.files.iter().map(|file| &file.path).chain(&metadata.dirs).chain(links) {
            let normal = |part| matches!(part, Component::Normal(_));
            assert!(Path::new(path.as_str()).components().all(normal));
        }
        for link in &metadata.links {
            assert!(Path::new(&link.target).is_relative());
            let in_the_way = |path: &SafePath| path.below(&link.path).is_some();
            assert!(!metadata.files.iter().any(|file| in_the_way(&file.path)));
            assert!(!metadata.dirs.iter().any(in_the_way));
        }
        assert!(metadata.files.iter().all(|file| file.permissions() <= 0o777));
        // Every byte of the stream has one place, in its own file and in no hole.
        let mut end = 0;
        for file in &metadata.files {
            assert!(file.offset == end && file.holes.end() <= file.size);
            let (mut at, mut data) = (0, 0);
            for run in file.holes.runs(0..file.data_bytes()) {
                assert_eq!((run.data.start, run.position), (data, at + file.holes.before(data)));
                data = run.data.end;
                at = run.position + (run.data.end - run.data.start);
            }
            assert_eq!((data, at + file.holes.before(data)), (file.data_bytes(), file.size));
            end += data;
        }
        assert_eq!(end, geometry.total());
    }
});
