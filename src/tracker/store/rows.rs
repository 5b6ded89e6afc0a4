//! How values stand in SQLite's rows, and how its files and connections are kept.

use std::fmt::Display;
use std::path::Path;

use sqlx::sqlite::{SqlitePoolOptions, SqliteRow};
use sqlx::{Connection, Row};

use super::StoreError;
use crate::disk::durable;

/// An id as it stands in a row.
pub(super) fn bytes(id: &[u8; 32]) -> Vec<u8> {
    id.to_vec()
}

/// How a pool of so many connections is kept. One whose transaction could not be ended, as on a full disk, is
/// not used again: every later transaction on it would fail.
pub(in crate::tracker) fn pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .after_release(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

/// Creates the file of a database, so that it has the right mode before anything is in it; SQLite gives its
/// journal the same.
pub(in crate::tracker) fn private_database(path: &Path) -> std::io::Result<()> {
    durable::open_private(path).map(drop)
}

/// SQLite's integers are signed; a moment beyond them is as good as never.
pub(in crate::tracker) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The moment that stands in a row.
pub(super) fn moment(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What stands in those rows that are sound. One that is damaged is named in the log, and costs no other.
pub(super) fn sound<T>(
    rows: &[SqliteRow],
    what: impl Display,
    parse: impl Fn(&SqliteRow) -> Result<T, StoreError>,
) -> Vec<T> {
    let sound = |row| {
        let parsed = parse(row);
        parsed.inspect_err(|error| tracing::error!(%error, "{what}: a row is left out")).ok()
    };
    rows.iter().filter_map(sound).collect()
}

/// The id in a column.
pub(super) fn id(row: &SqliteRow, column: &'static str) -> Result<[u8; 32], StoreError> {
    row.try_get::<&[u8], _>(column)?.try_into().map_err(|_| StoreError::Damaged("an id"))
}
