//! Safe names: a path that reaches the disk of a receiver is one of these, so writing outside the
//! target directory cannot be expressed. Names are refused, never repaired. Names that are safe, but no names on some
//! system, are taken: see `portability`.

use std::borrow::Cow;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;

use crate::limits::{COMPONENT_BYTES_MAX, COMPONENTS_MAX, PATH_BYTES_MAX};

/// A relative path of safe components, separated by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafePath(String);

/// Why a name is refused. What could act on a terminal is shown escaped, whoever prints the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name \"{}\" {rule}", printable(.name))]
pub struct NameError {
    /// The name as it was given.
    pub name: String,
    /// The rule that it breaks.
    pub rule: NameRule,
}

/// The rules for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Deserialize), serde(rename_all = "kebab-case"))]
#[expect(missing_docs, reason = "each variant's sentence is its Display text below")]
pub enum NameRule {
    Empty,
    TooLong,
    ComponentTooLong,
    TooDeep,
    DotComponent,
    Absolute,
    Backslash,
    Control,
    Bidi,
    Hidden,
    #[cfg_attr(test, serde(rename = "file-and-folder"))]
    FileAndDirectory,
    Twice,
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty or has an empty component",
            Self::TooLong => "is longer than 4096 bytes",
            Self::ComponentTooLong => "has a component longer than 255 bytes",
            Self::TooDeep => "has more than 128 components",
            Self::DotComponent => "has a component \".\" or \"..\"",
            Self::Absolute => "is absolute",
            Self::Backslash => "has a backslash",
            Self::Control => "has a control character",
            Self::Bidi => "has a character that reverses the direction of text",
            Self::Hidden => "is hidden where it would be saved (starts with a dot)",
            Self::FileAndDirectory => "is both a file and a folder",
            Self::Twice => "stands there twice",
        })
    }
}

impl SafePath {
    /// Takes a path that breaks none of the rules for a single name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        Self::parse_owned(name.to_owned())
    }

    /// Takes a path like [`SafePath::parse`], without a copy of it.
    pub fn parse_owned(name: String) -> Result<Self, NameError> {
        match broken_rule(&name) {
            None => Ok(Self(name)),
            Some(rule) => Err(NameError { name, rule }),
        }
    }

    /// The path of what has this name in the directory of this path, if it breaks none of the rules.
    pub fn join(&self, name: &str) -> Result<Self, NameError> {
        let mut path = String::with_capacity(self.0.len() + 1 + name.len());
        path.push_str(&self.0);
        path.push('/');
        path.push_str(name);
        Self::parse_owned(path)
    }

    /// Takes a name of one component that may stand in a receiver's directory: not hidden there.
    pub fn parse_top(name: &str) -> Result<Self, NameError> {
        let refuse = |rule| NameError { name: name.to_owned(), rule };
        if name.contains('/') {
            return Err(refuse(NameRule::Absolute));
        }
        if name.starts_with('.') && name != "." && name != ".." {
            return Err(refuse(NameRule::Hidden));
        }
        Self::parse(name)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components from the top.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The path below `top`, if it lies there; empty if it is `top` itself.
    pub fn below(&self, top: &Self) -> Option<&str> {
        let rest = self.0.strip_prefix(&top.0)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }

    /// The extension of the last component with its dot, as in `.gz`; empty if it has none.
    pub fn extension(&self) -> &str {
        let last = self.0.rsplit('/').next().unwrap_or("");
        match last.rfind('.') {
            Some(dot) if dot > 0 => &last[dot..],
            _ => "",
        }
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SafePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SafePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PathText)
    }
}

/// Reads the text where it stands, and repeats none in an error that is longer than a path may be.
struct PathText;

impl Visitor<'_> for PathText {
    type Value = SafePath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SafePath, E> {
        if text.len() > PATH_BYTES_MAX {
            return Err(E::custom(format!(
                "a path has {} bytes, and at most {PATH_BYTES_MAX} are taken",
                text.len()
            )));
        }
        SafePath::parse(text).map_err(E::custom)
    }
}

/// The text in Unicode normalisation form C, which a sender gives names.
pub fn normalise(name: &str) -> Cow<'_, str> {
    // What is ASCII is in every normal form.
    if name.is_ascii() { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// The text with everything that could act on a terminal escaped; letters of all scripts stay as they are.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts_on_terminal(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Whether the character does something to a terminal or to the order of a line in the place of being shown: a
/// control character, a break of the line, or one that reverses the direction of text.
pub fn acts_on_terminal(c: char) -> bool {
    is_control(c) || is_bidi(c) || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The text in Unicode's full case folding, then in form C.
pub(crate) fn case_folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    normalise(&UniCase::unicode(text).to_folded_case()).into_owned()
}

fn broken_rule(name: &str) -> Option<NameRule> {
    if name.len() > PATH_BYTES_MAX {
        return Some(NameRule::TooLong);
    }
    if name.starts_with('/') {
        return Some(NameRule::Absolute);
    }
    // Most names need one look at each byte, and no more.
    if !name.bytes().all(is_ordinary)
        && let Some(rule) = broken_character_rule(name)
    {
        return Some(rule);
    }
    if name.bytes().filter(|&byte| byte == b'/').count() >= COMPONENTS_MAX {
        return Some(NameRule::TooDeep);
    }
    name.split('/').find_map(broken_component_rule)
}

/// Whether the byte is a character by itself, and one that no rule for characters is about.
const fn is_ordinary(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'\\'
}

fn broken_character_rule(name: &str) -> Option<NameRule> {
    if name.chars().any(is_control) {
        Some(NameRule::Control)
    } else if name.chars().any(is_bidi) {
        Some(NameRule::Bidi)
    } else if name.contains('\\') {
        Some(NameRule::Backslash)
    } else {
        None
    }
}

fn broken_component_rule(component: &str) -> Option<NameRule> {
    let bytes = component.as_bytes();
    if bytes.is_empty() {
        Some(NameRule::Empty)
    } else if bytes.len() > COMPONENT_BYTES_MAX {
        Some(NameRule::ComponentTooLong)
    } else if component == "." || component == ".." {
        Some(NameRule::DotComponent)
    } else {
        None
    }
}

/// C0 and C1 controls and DEL.
fn is_control(c: char) -> bool {
    c.is_control()
}

/// The characters with the Unicode property `Bidi_Control`.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the page is tested with as well.
    #[derive(Deserialize)]
    struct Cases {
        allowed: Vec<(String, String)>,
        refused: Vec<(String, NameRule)>,
        lengths: Vec<(String, usize, String, Option<NameRule>)>,
        tops: Vec<(String, Option<NameRule>)>,
    }

    fn cases() -> Cases {
        serde_json::from_str(include_str!("../../tests/formats/names.json")).unwrap()
    }

    fn rule(name: &str) -> Option<NameRule> {
        SafePath::parse(name).err().map(|error| error.rule)
    }

    #[test]
    fn s1_hostile_names_are_refused_by_rule() {
        for (name, expected) in cases().refused {
            assert_eq!(rule(&name), Some(expected), "{name:?}");
        }
    }

    #[test]
    fn names_are_as_long_and_deep_as_the_limits_say() {
        for (part, times, end, expected) in cases().lengths {
            assert_eq!(rule(&(part.repeat(times) + &end)), expected, "{part:?}, {times} times");
        }
    }

    #[test]
    fn ordinary_names_of_all_kinds_are_taken() {
        for (name, _) in cases().allowed {
            assert_eq!(rule(&name), None, "{name:?}");
        }
    }

    #[test]
    fn a_top_name_is_one_visible_component() {
        for (name, expected) in cases().tops {
            assert_eq!(SafePath::parse_top(&name).err().map(|error| error.rule), expected, "{name:?}");
        }
    }

    #[test]
    fn s12_what_acts_on_a_terminal_is_escaped_and_other_scripts_stay_readable() {
        let hostile = "a\u{1b}]52;c;x\u{7}\u{9b}31m\u{202e}\r\n\u{2028}b";
        let shown = "a\\u{1b}]52;c;x\\u{7}\\u{9b}31m\\u{202e}\\r\\n\\u{2028}b";
        assert_eq!(printable(hostile), shown);
        for name in ["Übergröße", "Привет", "日本語", "🦀 \\ \"it's\""] {
            assert_eq!(printable(name), name);
        }
        let error = SafePath::parse("Ü\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(error, "the name \"Ü\\u{1b}[2J\" has a control character");
    }

    #[test]
    fn extensions_keep_their_dot() {
        for (name, extension) in
            [("a.txt", ".txt"), ("a.tar.gz", ".gz"), ("a", ""), ("b/.rc", ""), ("x.d/a", "")]
        {
            assert_eq!(SafePath(name.into()).extension(), extension);
        }
    }

    /// The rules one after another, without a look at bytes before.
    fn rule_by_rule(name: &str) -> Option<NameRule> {
        if name.len() > PATH_BYTES_MAX {
            return Some(NameRule::TooLong);
        }
        if name.starts_with('/') {
            return Some(NameRule::Absolute);
        }
        let too_deep = || (name.split('/').count() > COMPONENTS_MAX).then_some(NameRule::TooDeep);
        let of_components = || name.split('/').find_map(broken_component_rule);
        broken_character_rule(name).or_else(too_deep).or_else(of_components)
    }

    #[test]
    fn each_character_is_refused_or_taken_whatever_stands_beside_it() {
        for c in (0..0x3000).filter_map(char::from_u32) {
            for name in [c.to_string(), format!("a{c}b"), format!("é{c}")] {
                assert_eq!(rule(&name), rule_by_rule(&name), "{name:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn names_are_judged_alike_by_bytes_and_by_characters(
            name in prop_oneof![
                any::<String>(),
                "[a-z./\\\\ ~\\x00-\\x20\\x7e-\\xa0\u{202e}é]{0,24}",
                "[ -~]{0,300}",
                "([a.]{1,3}/){120,132}[a.\\x7f]{0,2}",
            ],
        ) {
            prop_assert_eq!(rule(&name), rule_by_rule(&name));
            let whole = SafePath::parse(&format!("top/{name}"));
            prop_assert_eq!(SafePath::parse("top").unwrap().join(&name), whole);
        }

        #[test]
        fn what_is_taken_stays_below_its_folder(name in "[a-zA-Z./\\\\: \\x00-\\x1f\u{202e}é]{0,24}") {
            if let Ok(path) = SafePath::parse(&name) {
                let normal = std::path::Path::new(path.as_str()).components()
                    .all(|c| matches!(c, std::path::Component::Normal(_)));
                prop_assert!(normal);
                prop_assert_eq!(printable(path.as_str()), name);
            }
        }
    }
}
