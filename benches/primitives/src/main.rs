//! How fast each library, and the kernel, does what a transfer consists of, on one core of this processor.
//!
//!     parcelry-primitives                           measures all, prints a table in Markdown
//!     parcelry-primitives samples                   measures all, prints samples, one a line
//!     parcelry-primitives samples LIBRARY COLUMN    the samples of one library, for a column of that name
//!     parcelry-primitives table                     reads samples from stdin, prints the table
//!
//! `benches/primitives.sh` puts the samples of several processes into one table that way: a library chooses its code
//! by the processor when it is loaded, so that another choice takes another process.
//!
//! The libraries take turns, so that a slow moment of the machine hits all of them; the median counts. It counts the
//! CPU time of the thread: what else runs on the machine takes the core away, but not the time.

mod operations;

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use crate::operations::operations;

/// How much CPU time each library gets in a turn, and how many turns a process has.
const TURN_SECONDS: f64 = 0.02;
const TURNS: usize = 5;

type Anything = Box<dyn Error>;

/// What one turn gave: a row of the table, a column, and the figure.
struct Sample {
    row: String,
    column: String,
    value: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "parcelry-primitives: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Anything> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    match arguments.as_slice() {
        [] => print_table(&measure(None), &mut out)?,
        ["samples"] => print_samples(&measure(None), &mut out)?,
        ["samples", library, column] => {
            let mut samples = measure(Some(*library));
            for sample in &mut samples {
                sample.column = (*column).to_owned();
            }
            print_samples(&samples, &mut out)?;
        }
        ["table"] => print_table(&read_samples()?, &mut out)?,
        _ => return Err("usage: parcelry-primitives [samples [LIBRARY COLUMN] | table]".into()),
    }
    Ok(())
}

/// All turns of all libraries, or of one.
fn measure(only: Option<&str>) -> Vec<Sample> {
    let mut operations = operations();
    let mut samples = Vec::new();
    for operation in &mut operations {
        operation.contenders.retain(|contender| only.is_none_or(|only| only == contender.library));
    }
    for _ in 0..TURNS {
        for operation in &mut operations {
            for contender in &mut operation.contenders {
                samples.push(Sample {
                    row: operation.name.clone(),
                    column: contender.library.to_owned(),
                    value: contender.per_second(TURN_SECONDS) / operation.unit,
                });
            }
        }
    }
    samples
}

fn print_samples(samples: &[Sample], out: &mut impl io::Write) -> io::Result<()> {
    samples.iter().try_for_each(|Sample { row, column, value }| writeln!(out, "{row}\t{column}\t{value}"))
}

fn read_samples() -> Result<Vec<Sample>, Anything> {
    let mut samples = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let fields: Vec<&str> = line.split('\t').collect();
        let [row, column, value] = fields[..] else { return Err(format!("not a sample: {line}").into()) };
        samples.push(Sample { row: row.to_owned(), column: column.to_owned(), value: value.parse()? });
    }
    Ok(samples)
}

/// Rows and columns are in the order in which they come first. What a library does not have stays empty.
fn print_table(samples: &[Sample], out: &mut impl io::Write) -> io::Result<()> {
    let rows = distinct(samples.iter().map(|sample| sample.row.as_str()));
    let columns = distinct(samples.iter().map(|sample| sample.column.as_str()));
    writeln!(out, "{}\n", processor())?;
    writeln!(out, "| GB/s of one core | {} |", columns.join(" | "))?;
    writeln!(out, "|---|{}", "---|".repeat(columns.len()))?;
    for row in rows {
        let cells = columns.iter().map(|column| {
            let cell = samples.iter().filter(|sample| sample.row == row && sample.column == *column);
            median(cell.map(|sample| sample.value).collect()).map(|value| format!("{value:.2}"))
        });
        let cells: Vec<String> = cells.map(Option::unwrap_or_default).collect();
        writeln!(out, "| {row} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The processor's name, and which of the instructions that matter here it has.
fn processor() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut fields = known.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.trim() == name).map_or("", |(_, value)| value.trim())
    };
    let flags: Vec<&str> = field("flags").split_whitespace().collect();
    let mut matter = vec!["aes", "vaes", "vpclmulqdq", "sha_ni", "avx2", "avx512f", "avx512vl"];
    matter.retain(|flag| flags.contains(flag));
    let (family, model) = (field("cpu family"), field("model"));
    format!("{}, family {family}, model {model} ({})", field("model name"), matter.join(", "))
}
