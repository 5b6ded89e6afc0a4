//! Names that are safe, and no names on some systems: they are shared with a note, and each receiver's own file system
//! decides.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::name::{SafePath, case_folded};

/// Why a name is none on some systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotEverywhere {
    /// Windows keeps it for a device.
    Device,
    /// Windows takes a dot or space at the end away.
    End,
    /// Windows and its file systems give these characters another meaning.
    Character,
    /// Some systems change it into another form.
    NotNormalised,
    /// Some file systems take it for another of the same share.
    Clash,
}

impl fmt::Display for NotEverywhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "is the name of a device on Windows",
            Self::End => "ends in a dot or a space",
            Self::Character => "has one of the characters : * ? \" < > |",
            Self::NotNormalised => "is not in Unicode normalisation form C",
            Self::Clash => "differs from another name only in upper and lower case or in normal form",
        })
    }
}

/// Why the component, by itself, is no name on some systems.
pub fn not_everywhere(component: &str) -> Option<NotEverywhere> {
    if component.ends_with(['.', ' ']) {
        Some(NotEverywhere::End)
    } else if is_windows_device(component) {
        Some(NotEverywhere::Device)
    } else if component.contains([':', '*', '?', '"', '<', '>', '|']) {
        Some(NotEverywhere::Character)
    } else if !component.is_ascii() && !unicode_normalization::is_nfc(component) {
        Some(NotEverywhere::NotNormalised)
    } else {
        None
    }
}

/// Whether every file system that knows names of ASCII tells all of these paths, and the directories on the way to them,
/// apart: they are ASCII, [`notes`] has nothing to say of them, and none has a tilde, as the short names have that Windows
/// gives by itself. Paths of one text are one: [`PathTable`](crate::path_table::PathTable) finds what stands there twice.
pub fn are_plain<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> bool {
    let mut last = "";
    let is_plain_path = |path: &'a str| {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        // Most paths stand in the same directory as the one before.
        let is_known = std::mem::replace(&mut last, above) == above;
        is_plain(name) && (is_known || above.split('/').all(is_plain))
    };
    let has_upper_case = |path: &str| path.bytes().any(|byte| byte.is_ascii_uppercase());
    paths.clone().all(is_plain_path) && (!paths.clone().any(has_upper_case) || differ_in_lower_case(paths))
}

fn is_plain(component: &str) -> bool {
    component.is_ascii() && !component.contains('~') && not_everywhere(component).is_none()
}

/// Whether paths, and directories on the way to them, that differ also do so without regard to upper and lower case.
fn differ_in_lower_case<'a>(paths: impl Iterator<Item = &'a str>) -> bool {
    let (keys, mut known, mut last) = (RandomState::new(), HashMap::new(), "");
    for path in paths {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let new = if std::mem::replace(&mut last, above) == above { 1 } else { usize::MAX };
        for path in ancestors(path).take(new) {
            let hash = keys.hash_one(path);
            if *known.entry(keys.hash_one(case_folded(path))).or_insert(hash) != hash {
                return false;
            }
        }
    }
    true
}

/// The paths, and directories on the way to them, whose last component is no name on some systems; each once.
pub fn notes<'a>(paths: impl Iterator<Item = &'a SafePath> + Clone) -> Vec<(&'a str, NotEverywhere)> {
    if are_plain(paths.clone().map(SafePath::as_str)) { Vec::new() } else { notes_of_each(paths) }
}

fn notes_of_each<'a>(paths: impl Iterator<Item = &'a SafePath>) -> Vec<(&'a str, NotEverywhere)> {
    let (mut known, mut folded, mut found) = (HashSet::new(), HashMap::new(), Vec::new());
    let keys = RandomState::new();
    for path in paths {
        // What leads to a directory that is known is known.
        let new = ancestors(path.as_str()).take_while(|path| known.insert(*path));
        for path in new.collect::<Vec<_>>().into_iter().rev() {
            let component = path.rsplit('/').next().unwrap_or(path);
            let clash = match folded.entry(keys.hash_one(case_folded(path))) {
                Entry::Vacant(vacant) => {
                    vacant.insert(());
                    None
                }
                Entry::Occupied(_) => Some(NotEverywhere::Clash),
            };
            found.extend(clash.or_else(|| not_everywhere(component)).map(|why| (path, why)));
        }
    }
    found
}

/// The path and the directories on the way to it, the deepest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind('/').map(|slash| &path[..slash]))
}

/// Device names are reserved with any extension and in any case ("Naming Files", Microsoft).
fn is_windows_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or("").trim_end();
    let is_one_of = |text: &str, names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is_one_of(stem, &["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]) {
        return true;
    }
    stem.split_at_checked(3).is_some_and(|(start, number)| {
        let mut number = number.chars();
        is_one_of(start, &["COM", "LPT"])
            && matches!(number.next(), Some('0'..='9' | '¹' | '²' | '³'))
            && number.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Cases {
        allowed: Vec<(String, String)>,
        clashes: Vec<(Vec<String>, Vec<String>)>,
    }

    fn word(why: NotEverywhere) -> &'static str {
        match why {
            NotEverywhere::Device => "device",
            NotEverywhere::End => "end",
            NotEverywhere::Character => "character",
            NotEverywhere::NotNormalised => "not-normalised",
            NotEverywhere::Clash => "clash",
        }
    }

    fn cases() -> Cases {
        serde_json::from_str(include_str!("../../tests/formats/names.json")).unwrap()
    }

    #[test]
    fn f06_names_that_are_none_on_some_systems_are_safe_and_noted() {
        for (name, expected) in cases().allowed {
            let path = SafePath::parse(&name).unwrap();
            let found: Vec<_> = notes([&path].into_iter()).into_iter().map(|(_, why)| word(why)).collect();
            assert_eq!(found.join(" "), expected, "{name:?}");
        }
    }

    #[test]
    fn f06_names_that_a_file_system_may_take_for_one_are_found() {
        for (paths, expected) in cases().clashes {
            let paths: Vec<SafePath> = paths.iter().map(|path| SafePath::parse(path).unwrap()).collect();
            let found = notes(paths.iter()).into_iter().filter(|(_, why)| *why == NotEverywhere::Clash);
            assert_eq!(found.map(|(path, _)| path).collect::<Vec<_>>(), expected, "{paths:?}");
        }
    }

    /// Paths that are plain one by one, as most are, and some that are not.
    fn paths() -> impl Strategy<Value = Vec<SafePath>> {
        let odd = "con|LPT1\\.x|b\\.|c |x:y|a~1|\u{e9}|\u{c9}|e\u{301}|\u{212a}";
        let component = prop_oneof![20 => "[ab]{1,2}", 1 => "[abAB]{1,2}", 1 => odd];
        let path = proptest::collection::vec(component, 1..4);
        let path = path.prop_map(|components| SafePath::parse(&components.join("/")).unwrap());
        proptest::collection::vec(path, 0..8)
    }

    proptest! {
        #[test]
        fn f06_paths_are_plain_where_they_are_ascii_without_a_tilde_and_none_is_noted(paths in paths()) {
            let noted = notes_of_each(paths.iter());
            let is_ascii = |path: &SafePath| path.as_str().is_ascii() && !path.as_str().contains('~');
            prop_assert_eq!(are_plain(paths.iter().map(SafePath::as_str)), noted.is_empty() && paths.iter().all(is_ascii));
            prop_assert_eq!(notes(paths.iter()), noted);
        }

        #[test]
        fn f06_devices_are_known_in_any_case(
            component in "([cC][oO][mMnN]|[lL][pP][tT]|[cC]onin\\$|[a-z¹]{2,4})[0-9¹²₁ ]{0,2}[. a-z]{0,3}",
        ) {
            prop_assert_eq!(is_windows_device(&component), is_windows_device(&component.to_ascii_uppercase()));
            prop_assert_eq!(is_windows_device(&component), is_windows_device(&component.to_ascii_lowercase()));
        }
    }

    #[test]
    fn f06_of_many_paths_one_that_is_not_plain_is_found() {
        let ordinary: Vec<String> = (0..1000).map(|n| format!("s/{}/{n}.txt", n / 100)).collect();
        let ordinary = ordinary.iter().map(String::as_str);
        assert!(are_plain(ordinary.clone()));
        for (odd, is_plain) in [
            ("s/3/README", true),
            ("s/3/7.TXT", true),
            ("s/3/307.TXT", false),
            ("S/3/x", false),
            ("s/3/x ", false),
            ("s/nul/x", false),
            ("s/3/NUL.txt", false),
            ("s/3/README~1.TXT", false),
            ("s/3/\u{fc}", false),
        ] {
            assert_eq!(are_plain(ordinary.clone().chain([odd])), is_plain, "{odd}");
            assert_eq!(are_plain([odd].into_iter().chain(ordinary.clone())), is_plain, "{odd}");
        }
    }
}
