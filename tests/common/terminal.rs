//! A terminal: what it shows, and what a process writes to.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::person::Ran;

pub struct Terminal {
    screen: File,
    side: OwnedFd,
}

impl Terminal {
    pub fn new() -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let side = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        Self { screen: screen.into(), side }
    }

    /// A terminal this many columns wide.
    pub fn of_width(columns: u16) -> Self {
        let terminal = Self::new();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal.side.as_fd(), size).unwrap();
        terminal
    }

    /// Types something, which waits there for whoever reads.
    pub fn type_in(mut self, text: &str) -> Self {
        self.screen.write_all(text.as_bytes()).unwrap();
        self
    }

    /// For a process's input, output or errors.
    pub fn end(&self) -> Stdio {
        Stdio::from(self.side.try_clone().unwrap())
    }

    /// Runs a command whose errors go to the terminal; what it shows stands for them.
    pub fn run(mut self, mut command: Command) -> Ran {
        let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(self.end()).spawn().unwrap();
        drop((command, self.side));
        let mut shown = Vec::new();
        // A terminal without a process is an error to read, in the place of an end.
        let _ = self.screen.read_to_end(&mut shown);
        let mut ran = Ran::of(child.wait_with_output().unwrap());
        ran.stderr = String::from_utf8(shown).unwrap();
        ran
    }
}
