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

/// The paths, and directories on the way to them, whose last component is no name on some systems; each once.
pub fn notes<'a>(paths: impl Iterator<Item = &'a SafePath>) -> Vec<(&'a str, NotEverywhere)> {
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
    let stem = component.split('.').next().unwrap_or("").trim_end().to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    numbered.is_some_and(|rest| {
        let mut rest = rest.chars();
        matches!(rest.next(), Some('0'..='9' | '¹' | '²' | '³')) && rest.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
