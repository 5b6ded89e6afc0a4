//! Where things are, and what the configuration file says. A flag comes before an environment
//! variable, and that before the file.
//!
//! The file is `config.toml` in the configuration directory. It has one table for each command, with the
//! flags' names as keys: `[share]` with `replicas = 3`, say. Unknown keys are refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use directories::ProjectDirs;
use toml::{Table, Value};

use crate::failure::{Failure, Kind};

/// The directories of this user (XDG base directories).
#[derive(Debug, Clone, Default)]
pub struct OwnDirs {
    /// For `config.toml`.
    pub config: PathBuf,
    /// For journals and the keys of shares.
    pub state: PathBuf,
    /// For trackers and peers, unless they are given a directory.
    pub data: PathBuf,
}

impl OwnDirs {
    /// Finds the directories.
    pub fn find() -> Result<Self, Failure> {
        let dirs = ProjectDirs::from("", "", "parcelry").ok_or_else(|| {
            Failure::new(Kind::Other, "no home folder was found").next("Set the environment variable HOME.")
        })?;
        let state = dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).to_owned();
        Ok(Self { config: dirs.config_dir().to_owned(), state, data: dirs.data_dir().to_owned() })
    }
}

/// Takes what the file in `directory` says as the defaults of the command line.
pub fn with_file(command: Command, directory: &Path) -> Result<Command, Failure> {
    let path = directory.join("config.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(command),
        Err(error) => return Err(Failure::io("read", &path, &error)),
    };
    apply(command, &text).map_err(|what| {
        Failure::new(Kind::Usage, format!("{}: {what}", path.display()))
            .next("Each table is named after a command, each key after one of its flags.")
    })
}

fn apply(mut command: Command, text: &str) -> Result<Command, String> {
    let file: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    for (name, table) in file {
        let Value::Table(table) = table else { return Err(format!("`{name}` is not a table")) };
        let subcommand = command.find_subcommand(&name).ok_or(format!("there is no command `{name}`"))?;
        let mut configured = subcommand.clone();
        for (key, value) in table {
            configured = set_default(configured, &name, &key, &value)?;
        }
        command = command.mut_subcommand(&name, |_| configured);
    }
    Ok(command)
}

fn set_default(command: Command, name: &str, key: &str, value: &Value) -> Result<Command, String> {
    let id = command.get_arguments().find(|arg| arg.get_long() == Some(key)).map(Arg::get_id).cloned();
    let id = id.ok_or_else(|| format!("`{name}` has no flag `--{key}`"))?;
    let default = match value {
        Value::String(text) => text.clone(),
        Value::Integer(_) | Value::Boolean(_) | Value::Float(_) => value.to_string(),
        _ => return Err(format!("`{name}.{key}` must be a single value")),
    };
    Ok(command.mut_arg(id, |arg| {
        // What may be a secret is one in the file, too.
        let is_hidden = arg.is_hide_env_values_set() || arg.is_hide_default_value_set();
        arg.default_value(default).hide_default_value(is_hidden)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Cli};
    use clap::{CommandFactory, FromArgMatches};

    fn share(file: &str, flags: &[&str]) -> Result<cli::ShareArgs, String> {
        let command = apply(Cli::command(), file)?;
        let words = ["parcelry", "share", "x"].iter().chain(flags);
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        match Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?.command {
            cli::Command::Share(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_file_gives_defaults_that_flags_overrule() {
        let file = "[share]\nreplicas = 3\nexpires = \"2d\"\n[get]\nforce = true";
        assert_eq!(share(file, &[]).unwrap().replicas, 3);
        assert_eq!(share(file, &["--replicas", "4"]).unwrap().replicas, 4);
        assert_eq!(share("", &[]).unwrap().replicas, 2);
    }

    #[test]
    fn f31_a_swarm_that_is_named_on_the_command_line_comes_before_any_that_is_configured() {
        let chosen = |file: &str, flags: &[&str]| {
            let cli::SwarmArgs { invite, swarm } = share(file, flags).unwrap().swarm;
            (invite, swarm)
        };
        let work = (None, Some("work".to_owned()));
        let other = (Some("OTHER".to_owned()), None);
        assert_eq!(chosen("", &[]), (None, None));
        assert_eq!(chosen("[share]\nswarm = \"work\"", &[]), work);
        assert_eq!(chosen("[share]\nswarm = \"work\"", &["--invite", "OTHER"]), other);
        assert_eq!(chosen("[share]\ninvite = \"OTHER\"", &["--swarm", "work"]), work);
        assert_eq!(chosen("[share]\nswarm = \"work\"\ninvite = \"OTHER\"", &[]), work);
        let both = share("", &["--invite", "OTHER", "--swarm", "work"]).unwrap_err();
        assert!(both.contains("give one of them"), "{both}");
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused() {
        for (file, why) in [
            ("[shore]\nreplicas = 3", "no command"),
            ("[share]\nreplica = 3", "no flag"),
            ("[share]\nreplicas = [3]", "single value"),
            ("[share]\nreplicas = 99", "99"),
            ("replicas = 3", "not a table"),
            ("[share", ""),
        ] {
            let error = share(file, &[]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
