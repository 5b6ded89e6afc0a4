//! Where an entry stands among the paths of a share, as a hash: tables of many paths keep these, and no text.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// What the components of a path hash to. That of no component is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place([u64; 2]);

/// Nobody who does not know these can make two paths that hash alike.
#[derive(Debug, Default)]
pub(crate) struct Keys([RandomState; 2]);

impl Keys {
    /// The place of a component below another place.
    pub(crate) fn below(&self, above: Place, component: &str) -> Place {
        Place([0, 1].map(|n| self.0[n].hash_one((above.0, component))))
    }
}

/// A table by places. They are hashes already, and are not hashed once more.
pub(crate) type ByPlace<V> = HashMap<Place, V, BuildHasherDefault<AsItIs>>;

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A half of it finds its row; what stands there is compared with all of it.
        state.write_u64(self.0[0]);
    }
}

/// Takes a hash for what it is.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a place gives one number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_by_places_is_like_one_by_paths(
            paths in proptest::collection::vec("[ab]{0,2}(/[ab]{0,2}){0,3}", 0..40),
        ) {
            let keys = Keys::default();
            let (mut by_place, mut by_path) = (ByPlace::default(), BTreeMap::new());
            for (number, path) in paths.iter().enumerate() {
                let below = |above, component| keys.below(above, component);
                let place = path.split('/').fold(Place::default(), below);
                prop_assert_eq!(by_place.insert(place, number), by_path.insert(path, number));
            }
            prop_assert_eq!(by_place.len(), by_path.len());
        }
    }
}
