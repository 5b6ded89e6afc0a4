//! The symlinks of a share. One may be made only if it leads to an entry of its own share, on every file system, and
//! if it stands in nobody's way: whoever writes below the share's directory then never leaves it.

use std::collections::hash_map::Entry;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{COMPONENTS_SUM_MAX, LINK_HOPS_MAX};
use crate::name::{SafePath, case_folded};
use crate::place::{ByPlace, Keys, Place};

/// A symlink of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The path, which starts with the share's `original_filename`.
    pub path: SafePath,
    /// Where it leads, seen from the directory that it is in.
    pub target: String,
}

/// Why a symlink is none that a share may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRule {
    /// Its target is not one that is the same everywhere.
    Target,
    /// It leads to nothing of the share.
    Nowhere,
    /// Another entry has its name, on some file system, or lies below it.
    InTheWay,
}

impl fmt::Display for LinkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "a symlink whose target is absolute or not one for every system",
            Self::Nowhere => "a symlink that leads to nothing in the share",
            Self::InTheWay => "a symlink with the name of another entry",
        })
    }
}

/// The rule that each link breaks among these files, directories that hold nothing, and links. The paths can stand side by
/// side, as [`crate::path_table::PathTable`] tells. One link that breaks a rule leads nowhere for the others.
pub fn broken_rules<'a>(
    files: impl Iterator<Item = &'a SafePath>,
    dirs: impl Iterator<Item = &'a SafePath>,
    links: &'a [Link],
) -> Vec<Option<LinkRule>> {
    let mut tree = Tree::default();
    for path in files {
        tree.put(path.as_str(), Kind::File);
    }
    for path in dirs {
        tree.put(path.as_str(), Kind::Directory);
    }
    // All directories come first, so that no link takes the name of a directory in which another one stands.
    for link in links {
        let above = link.path.as_str().rsplit_once('/').map_or("", |(above, _)| above);
        tree.put(above, Kind::Directory);
    }
    let places: Vec<bool> = links
        .iter()
        .enumerate()
        .map(|(number, link)| is_target(&link.target) && tree.put(link.path.as_str(), Kind::Link(number)))
        .collect();
    // One budget for all links: chains of them could lead on for any time.
    let mut steps = COMPONENTS_SUM_MAX;
    let rule = |(link, is_placed): (&Link, &bool)| {
        if !is_target(&link.target) {
            Some(LinkRule::Target)
        } else if !is_placed {
            Some(LinkRule::InTheWay)
        } else {
            (!tree.leads_inside(link, links, &mut steps)).then_some(LinkRule::Nowhere)
        }
    };
    links.iter().zip(&places).map(rule).collect()
}

/// Whether the target is relative and of components that every system takes for the same.
fn is_target(target: &str) -> bool {
    // What may stand in a path may stand here; the ways up and to itself stand for ordinary names.
    let plain = |component: &'_ str| if matches!(component, "." | "..") { "x" } else { component }.to_owned();
    let parts: Vec<String> = target.split('/').map(plain).collect();
    let is_normal = target.is_ascii() || unicode_normalization::is_nfc(target);
    is_normal && SafePath::parse(&parts.join("/")).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    File,
    Directory,
    Link(usize),
}

/// All entries by their folded paths: file systems differ in what they tell apart. Kept as hashes, as in `path_table`.
#[derive(Default)]
struct Tree<'a> {
    kinds: ByPlace<Kind>,
    /// The directory of the last path, and its place: most paths stand in the same directory as the one before.
    above: (&'a str, Place),
    keys: Keys,
}

impl<'a> Tree<'a> {
    fn below(&self, above: Place, component: &str) -> Place {
        self.keys.below(above, &case_folded(component))
    }

    /// Puts an entry and the directories on the way to it; false for a link where something is already.
    fn put(&mut self, path: &'a str, kind: Kind) -> bool {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.above.0 != above {
            let mut place = Place::default();
            for component in above.split('/') {
                place = self.below(place, component);
                self.kinds.entry(place).or_insert(Kind::Directory);
            }
            self.above = (above, place);
        }
        let place = self.below(if above.is_empty() { Place::default() } else { self.above.1 }, name);
        match self.kinds.entry(place) {
            Entry::Vacant(vacant) => {
                vacant.insert(kind);
                true
            }
            Entry::Occupied(_) => !matches!(kind, Kind::Link(_)),
        }
    }

    /// Whether the link leads to an entry, with all links on its way, and never above the share's own directory.
    fn leads_inside(&self, link: &Link, links: &[Link], steps: &mut usize) -> bool {
        let mut places = vec![Place::default()];
        for component in link.path.components() {
            places.push(self.below(places[places.len() - 1], component));
        }
        places.pop();
        let mut left: Vec<&str> = link.target.split('/').rev().collect();
        let (mut hops, mut kind) = (0, Kind::Directory);
        while let Some(component) = left.pop() {
            let Some(fewer) = steps.checked_sub(1) else { return false };
            *steps = fewer;
            match component {
                _ if kind != Kind::Directory => return false,
                "." => continue,
                ".." => {
                    places.pop();
                    // The first is what the share's own directory stands in.
                    if places.len() < 2 {
                        return false;
                    }
                    continue;
                }
                _ => {}
            }
            let place = self.below(places[places.len() - 1], component);
            match self.kinds.get(&place) {
                None => return false,
                Some(Kind::Link(number)) => {
                    hops += 1;
                    if hops > LINK_HOPS_MAX {
                        return false;
                    }
                    left.extend(links[*number].target.split('/').rev());
                }
                Some(&found) => {
                    kind = found;
                    places.push(place);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(files: &[&str], dirs: &[&str], links: &[(&str, &str)]) -> Vec<Option<LinkRule>> {
        let parse =
            |paths: &[&str]| paths.iter().map(|path| SafePath::parse(path).unwrap()).collect::<Vec<_>>();
        let (files, dirs) = (parse(files), parse(dirs));
        let links: Vec<Link> = links
            .iter()
            .map(|&(path, target)| Link { path: SafePath::parse(path).unwrap(), target: target.into() })
            .collect();
        broken_rules(files.iter(), dirs.iter(), &links)
    }

    #[test]
    fn f07_links_that_lead_to_entries_of_the_share_are_taken() {
        let files = ["s/a/file", "s/b/c/deep", "s/top"];
        for (path, target) in [
            ("s/l", "a/file"),
            ("s/l", "a"),
            ("s/l", "./a/../b/c/deep"),
            ("s/l", "."),
            ("s/a/l", "../top"),
            ("s/a/l", ".."),
            ("s/b/c/l", "../../a"),
            ("s/new/l", "../top"),
            ("s/l", "empty"),
            ("s/l", "TOP"),
        ] {
            assert_eq!(rules(&files, &["s/empty"], &[(path, target)]), [None], "{path} {target}");
        }
        let chain = [("s/1", "2/c"), ("s/2", "b"), ("s/3", "1/deep")];
        assert_eq!(rules(&files, &[], &chain), [None; 3]);
    }

    #[test]
    fn f07_links_that_lead_elsewhere_or_stand_in_the_way_are_refused() {
        use LinkRule::*;
        let files = ["s/a/file", "s/top"];
        for (path, target, rule) in [
            ("s/l", "/etc/passwd", Target),
            ("s/l", "", Target),
            ("s/l", "a//file", Target),
            ("s/l", "a/", Target),
            ("s/l", "a\\file", Target),
            ("s/l", "a\0", Target),
            ("s/l", "\u{202e}a", Target),
            ("s/l", "e\u{301}", Target),
            ("s/l", "..", Nowhere),
            ("s/l", "../s/top", Nowhere),
            ("s/a/l", "../../s/top", Nowhere),
            ("s/l", "none", Nowhere),
            ("s/l", "none/../top", Nowhere),
            ("s/l", "top/../a", Nowhere),
            ("s/l", "top/.", Nowhere),
            ("s/l", "l", Nowhere),
            ("s/l", "./l/x", Nowhere),
            ("s/top", "a", InTheWay),
            ("s/TOP", "a", InTheWay),
            ("s/a", "top", InTheWay),
            ("s/A", "top", InTheWay),
            ("s", "s/top", InTheWay),
        ] {
            assert_eq!(rules(&files, &[], &[(path, target)]), [Some(rule)], "{path} {target:?}");
        }
        let through = [("s/up", ".."), ("s/l", "a/up/../../x"), ("s/m", "up/top")];
        assert_eq!(rules(&files, &[], &through)[0], Some(Nowhere));
        // Names that are one on a disk that folds case.
        assert_eq!(rules(&files, &[], &[("s/x", "a"), ("s/X", "a")]), [None, Some(InTheWay)]);
        assert_eq!(rules(&files, &[], &[("s/x", "a"), ("s/X/y", "../a")])[0], Some(InTheWay));
        assert_eq!(rules(&files, &[], &[("s/x", "y"), ("s/y", "x")]), [Some(Nowhere); 2]);
        let up_through_a_link = [("s/d/e/in", "../../a"), ("s/l", "d/e/in/../..")];
        assert_eq!(
            rules(&files, &[], &up_through_a_link),
            [None, Some(Nowhere)],
            "as it is, not as it reads"
        );
    }

    #[test]
    fn s2_links_that_take_long_to_follow_are_refused_in_little_time() {
        let chain: Vec<(String, String)> =
            (0..100_000).map(|n| (format!("s/{n}"), format!("{}{}", "./".repeat(100), n + 1))).collect();
        let chain: Vec<(&str, &str)> = chain.iter().map(|(path, target)| (&**path, &**target)).collect();
        assert!(rules(&["s/100000"], &[], &chain).iter().filter(|rule| rule.is_none()).count() <= 40);
    }

    proptest! {
        /// Against a second way to follow links, which knows a disk that folds case and one that does not.
        #[test]
        fn f07_no_link_that_is_taken_leads_out(
            entries in proptest::collection::vec(("s(/[abA]){1,3}", 0..3), 1..8),
            links in proptest::collection::vec(("s(/[abcA]){1,3}", "([abcA]|\\.\\.|\\.)(/([abcA]|\\.\\.|\\.)){0,4}"), 1..5),
        ) {
            let (files, dirs): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, kind)| *kind > 0);
            let paths = |entries: Vec<&(String, i32)>| -> Vec<String> {
                entries.into_iter().map(|(path, _)| path.clone()).collect()
            };
            let (files, dirs) = (paths(files), paths(dirs));
            let text = |paths: &'_ [String]| paths.iter().map(|path| SafePath::parse(path).unwrap()).collect::<Vec<_>>();
            let links: Vec<Link> = links
                .into_iter()
                .map(|(path, target)| Link { path: SafePath::parse(&path).unwrap(), target })
                .collect();
            let rules = broken_rules(text(&files).iter(), text(&dirs).iter(), &links);
            let taken: Vec<&Link> = links.iter().zip(&rules).filter(|(_, rule)| rule.is_none()).map(|(l, _)| l).collect();
            for fold in [|c: &str| c.to_owned(), |c: &str| c.to_lowercase()] {
                let named = files.iter().chain(&dirs).cloned().chain(taken.iter().map(|link| link.path.to_string()));
                let there: Vec<String> = named.map(|path| format!("{}/", fold(&path))).collect();
                for link in &taken {
                    let mut at: Vec<String> = link.path.components().map(fold).collect();
                    at.pop();
                    let mut left: Vec<String> = link.target.split('/').rev().map(fold).collect();
                    let mut hops = 0;
                    while let Some(component) = left.pop() {
                        match component.as_str() {
                            "." => {}
                            ".." => drop(at.pop()),
                            _ => at.push(component),
                        }
                        prop_assert!(!at.is_empty(), "{} -> {} leads out", link.path, link.target);
                        let path = at.join("/");
                        // What is not there is not followed any further.
                        if !there.iter().any(|known| known.starts_with(&format!("{path}/"))) {
                            break;
                        }
                        if let Some(next) = taken.iter().find(|other| fold(other.path.as_str()) == path) {
                            hops += 1;
                            prop_assert!(hops <= LINK_HOPS_MAX);
                            at.pop();
                            left.extend(next.target.split('/').rev().map(fold));
                        }
                    }
                }
            }
        }
    }
}
