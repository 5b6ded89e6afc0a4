//! `parcelry leave`: forgets the swarm that is in use.

use super::swarms;
use crate::context::Context;
use crate::failure::Failure;

/// Forgets the swarm in use, and says which one commands use from now on.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    swarms::forget(context, None)
}
