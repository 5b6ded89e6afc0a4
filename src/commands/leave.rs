//! `parcelry leave`: forgets the swarm that is in use.

use super::swarms;
use crate::context::Context;
use crate::failure::Failure;

/// Forgets it.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    swarms::forget(context, None)
}
