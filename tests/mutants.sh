#!/usr/bin/env bash
# Tests the tests: breaks the code on purpose, one break at a time, in a copy of the tree, and says which test noticed.
# A mutant that survives, or whose place in the code is gone, fails the run.
#   tests/mutants.sh [NAME…]     default: all of them
#   tests/mutants.sh --check     only whether each still has its place in the code; nothing is compiled
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d "${TMPDIR:-/tmp}/parcelry-mutants.XXXXXX")
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/mutants RUST_BACKTRACE=0 PARCELRY_SIM_SEEDS=20
check=
if [ "${1:-}" = --check ]; then check=yes; shift; fi
wanted=("$@") survivors=0

broken=() # the files of the copy that are not as they are in the tree
fresh() { # a tree as it is here, whose unchanged files keep their dates so that little is compiled again
    local file
    if [ -z "$(ls -A "$copy")" ]; then git ls-files -z | xargs -0 cp -p --parents -t "$copy"; fi
    for file in "${broken[@]}"; do cp -p "$file" "$copy/$file"; touch "$copy/$file"; done
    broken=()
}
swap() { # FILE OLD NEW: replaces the one place where OLD stands
    broken+=("$1")
    OLD=$2 NEW=$3 perl -0pi -e '
        my ($old, $new) = ($ENV{OLD}, $ENV{NEW});
        my $count = () = $_ =~ /\Q$old\E/g;
        $count == 1 or die "stands $count times in the file: $old\n";
        s/\Q$old\E/$new/' "$copy/$1"
}
mutant() { # NAME: break, with the swaps in the function break_NAME; the cargo test arguments are the rest
    local name=$1; shift
    if [ ${#wanted[@]} -gt 0 ] && [[ ! " ${wanted[*]} " == *" $name "* ]]; then return; fi
    fresh
    "break_$name" || { echo "| $name | NOT APPLIED |"; survivors=$((survivors + 1)); return; }
    if [ -n "$check" ]; then return; fi
    local log=$copy/mutant.log
    if (cd "$copy" && cargo test --locked "$@" >"$log" 2>&1); then
        echo "| $name | SURVIVED |"; survivors=$((survivors + 1)); return
    fi
    local by; by=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/`\1`/p' "$log" | paste -sd' ')
    if [ -z "$by" ]; then echo "| $name | DOES NOT BUILD |"; grep -m3 '^error' "$log"; survivors=$((survivors + 1)); return; fi
    echo "| $name | $by |"
}

break_acknowledge_before_sync() {
    swap src/peer/storage/mod.rs 'self.sync(&present)?;' ''
}
break_skip_the_hash_check() { swap src/peer/storage/chunk_store.rs 'if hash != id {' 'if false && hash != id {'; }
break_take_bytes_that_were_not_hashed() {
    swap src/client/verified.rs '(ChunkId::of(&self.bytes) == self.id)' '(true || ChunkId::of(&self.bytes) == self.id)'
}
break_take_a_chunk_that_is_too_long() { swap src/client/pipelined.rs '.is_none_or(|whole| whole == wanted.sealed_len)' '.is_none_or(|_| true)'; }
break_hide_a_worker_that_panicked() { swap src/worker.rs 'if std::thread::panicking() {' 'if false {'; }
break_keep_shares_waiting_for_ever() { swap src/tracker/rotation.rs 'self.last = Some(next);' ''; }
break_show_no_failing_database() {
    swap src/tracker/events.rs 'if matches!(self.tracker.is_still(self.admin).await, Ok(false)) {' 'if !matches!(self.tracker.is_still(self.admin).await, Ok(true)) {'
}
break_acknowledge_at_one_replica() {
    swap core/src/replica_sets.rs 'set.peers.iter().all(' 'set.peers.iter().any('
}
break_rename_without_no_replace() { swap src/disk/dir.rs 'RenameFlags::NOREPLACE)' 'RenameFlags::empty())'; }
break_no_last_chunk_flag() { swap core/src/seal.rs 'u8::from(geometry.is_last(index))' '0 * u8::from(geometry.is_last(index))'; }
break_pin_without_the_handshake_signature() {
    broken+=(src/tls.rs)
    perl -0pi -e 's/(-> Result<HandshakeSignatureValid, Error> \{\n\s+)verify_signature\(message, cert, dss\)/$1let _ = (message, cert, dss, verify_signature);\n        Ok(HandshakeSignatureValid::assertion())/' "$copy/src/tls.rs"
    grep -q 'HandshakeSignatureValid::assertion())$' "$copy/src/tls.rs"
}
break_repair_from_an_unverified_copy() {
    swap src/client/verified.rs '(ChunkId::of(&self.bytes) == self.id)' '(true || ChunkId::of(&self.bytes) == self.id)'
    swap src/peer/storage/chunk_store.rs 'if hash != id {' 'if hash != id && !pending.believed {'
    swap src/peer/storage/chunk_file.rs 'hasher: Box<blake3::Hasher>,' 'hasher: Box<blake3::Hasher>, pub(super) believed: bool,'
    swap src/peer/storage/chunk_file.rs 'hasher: Box::default(),' 'hasher: Box::default(), believed: false,'
    swap src/peer/storage/arrivals.rs 'pending.write(sealed)?;' 'pending.write(sealed)?; pending.believed = true;'
}
break_count_the_dead() { swap core/src/registry.rs 'Liveness::Dead => ReplicaStatus::Gone,' 'Liveness::Dead => ReplicaStatus::Unsure,'; }
break_repair_when_the_network_fails() { swap core/src/suspicion.rs 'peers > 1 && weight.saturating_mul(3) >' 'peers > 1 && weight / 9 >'; }
break_weigh_who_holds_nothing() { swap core/src/suspicion.rs 'filter(|loss| loss.weight > 0)' 'filter(|_| true)'; }
break_count_who_cannot_be_reached() { swap core/src/registry.rs 'true => ReplicaStatus::Gone,' 'true => ReplicaStatus::Unsure,'; }
break_dead_because_the_own_way_out_fails() { swap core/src/registry.rs '.filter(|_| !self.suspicion)' ''; }
break_take_two_machines_for_one() { swap core/src/runs.rs 'if self.former.contains(&run) && !is_gone {' 'if self.former.is_empty() && !is_gone {'; }
break_take_a_part_for_an_inventory() { swap core/src/inventory.rs 'after.is_none_or(|after| *self == Self::Upto(after))' 'after.is_none_or(|_| true)'; }
break_drop_what_is_needed() {
    swap core/src/apart.rs '|count| count > wanted' '|count| count >= wanted'
    swap core/src/apart.rs '(trusted.count() >= wanted)' '(trusted.count() + 1 >= wanted)'
}
break_make_surplus_of_claims() { swap core/src/apart.rs 'holder.status == ReplicaStatus::Sure && holder.is_proven();' 'holder.status == ReplicaStatus::Sure;'; }
break_call_claims_healthy() { swap core/src/health.rs 'unproven: view.tally(Holder::is_proven)' 'unproven: view.tally(Holder::counts)'; }
break_drop_the_last_in_its_zone() { swap core/src/apart.rs 'filter(|&position| without(holders, position) == best)' 'filter(|&position| without(holders, position) <= best)'; }
break_let_the_young_push_out_the_old() { swap core/src/apart.rs 'settled || other_since_ms <= since_ms' 'settled || other_since_ms <= since_ms || true'; }
break_drop_what_was_learnt_lately() { swap core/src/apart.rs 'if view.learnt_lately {' 'if false && view.learnt_lately {'; }
break_refute_by_silence() { swap src/tracker/audits.rs 'None => Outcome::Unanswered,' 'None => Outcome::Refuted(1),'; }
break_count_many_proofs_as_one() { swap src/peer/audits.rs 'samples.len() as u64' '1'; }
break_believe_any_proof() { swap src/tracker/audits.rs 'verdict == Some(Verdict::Proven)' 'verdict.is_some()'; }
break_count_words_for_ever() { swap core/src/audit.rs 'counted < pair.counts_until && ' ''; }
break_let_claims_age_when_nobody_can_prove() { swap core/src/audit.rs '(true, None) => self.stands_since = Some(now),' '(true, None) => {}'; }
break_weigh_words() { swap src/tracker/audits.rs '|peer| audits.weight(peer)' '|peer| audits.weight(peer).max(2)'; }
break_count_what_nobody_ordered() { swap src/tracker/peers.rs 'self.store.add_bare(id, copied.share, &bare).await?' 'self.store.add_chunks(id, copied.share, &bare).await.map(|()| true)?'; }
break_give_old_age_to_what_is_new() { swap core/src/audit.rs 'if outcome == Outcome::Grown {' 'if false && outcome == Outcome::Grown {'; }
break_believe_a_peers_own_zone() { swap core/src/apart.rs 'candidate.zone.as_deref().filter(|_| candidate.zone_is_given)' 'candidate.zone.as_deref()'; }
break_let_a_wrong_clock_end_shares() { swap src/peer/clock_agreement.rs 'tracker_ms.filter(|_| agrees).map(Moment::at)' 'tracker_ms.map(Moment::at)'; }
break_end_shares_by_the_clock_that_is_ahead() { swap src/peer/clock_agreement.rs 'clock::now_ms().min(there.now_ms())' 'clock::now_ms()'; }
break_forget_what_was_not_heard() { swap src/peer/outbox.rs '-> (HeartbeatRequest, usize) {
        let queue = self.queue.lock();' '-> (HeartbeatRequest, usize) {
        let queue = std::mem::take(&mut *self.queue.lock());'; }
break_trust_an_unmounted_store() { swap src/peer/storage/chunk_store.rs 'fs::symlink_metadata(self.root.join(MARKER)).map(drop).map_err(gone)' 'fs::symlink_metadata(self.root.join(MARKER)).map(drop).or(Ok::<(), io::Error>(())).map_err(gone)'; }
break_keep_replicas_that_an_inventory_leaves_out() { swap src/tracker/store/replicas.rs 'for share in before.into_keys() {' 'for share in before.into_keys().take(0) {'; }
break_a_commit_replaces() { swap src/peer/storage/mod.rs 'self.shares.commit(manifest, terms, held.plus(arrived), token)' 'self.shares.commit(manifest, terms, arrived.clone(), token)'; }
break_let_go_of_what_another_share_holds() { swap src/peer/storage/chunk_removal.rs 'if index.refs.release(share, id) != Released::Last || is_wanted {' 'if index.refs.release(share, id) == Released::NotHeld || is_wanted {'; }
break_take_back_what_was_deleted() { swap src/peer/storage/mod.rs 'if self.gone.contains(share) {' 'if false && self.gone.contains(share) {'; }
break_collect_what_no_mark_names() { swap src/peer/storage/letting_go.rs 'for id in self.marks.of(share)?.iter()' 'for id in self.chunks.unreferenced().iter()'; }
break_believe_a_list_without_its_checksum() { swap src/peer/storage/records.rs 'if checksum_of(line) != checksum {' 'if checksum.len() != checksum_of(line).len() {'; }
break_hear_of_no_take_down() { swap src/peer/tasks.rs 'storage.withhold(share)' 'Ok::<(), std::io::Error>(())'; swap src/peer/storage/withheld.rs 'withheld.iter().try_for_each(|share| self.withhold(*share))' 'Ok(())'; }
break_withhold_for_ever() { swap src/peer/storage/withheld.rs 'self.shares.put_withheld(*share, false)?;' ''; }
break_serve_what_was_taken_down() { swap src/peer/http.rs 'peer.storage.check_chunk_served(&id)?;' ''; }
break_promise_what_no_sync_covers() { swap src/peer/storage/reading.rs 'self.chunks.is_synced(id) && ' ''; }
break_remove_what_may_be_of_what_cannot_be_read() {
    swap src/peer/storage/letting_go.rs '!self.shares.is_whole() && self.several.contains(id)' 'false && self.several.contains(id)'
}
break_keep_beyond_the_quota() { swap src/peer/storage/reservations.rs 'let Some(token) = grant.token else' 'let Some(token) = grant.token.filter(|_| false) else'; }
break_leave_uploads_uncharged() { swap src/peer/storage/arrivals.rs 'self.unfinished.lock().add(share, token, bytes);' ''; }
break_forget_at_a_restart_who_left_uploads() { swap src/peer/storage/mod.rs 'self.count_unfinished()?;' ''; }
break_begin_a_share_anew_for_nothing() { swap src/peer/storage/arrivals.rs 'self.unfinished.lock().bytes(share).saturating_sub(shown_bytes)' '0'; }
break_reserve_what_others_have_reserved_now() { swap src/peer/storage/arrivals.rs 'let _one_by_one = self.reserving.lock();' ''; }
break_remember_deletions_for_nobody() { swap src/tracker/quotas.rs 'ANNOUNCED_GONE_MAX.saturating_sub(charged)' '(1_u64 << 20).saturating_sub(charged)'; }
break_go_on_after_a_failed_sync() { swap src/peer/storage/syncs.rs 'Err(_) => state.failed = true,' 'Err(_) => state.failed = false,'; }
break_share_a_sync_that_began_before() { swap src/peer/storage/syncs.rs 'if COVERS_ALL && state.good >= mine {' 'if COVERS_ALL && state.good + 1 >= mine {'; }

break_take_the_owners_word_for_another_server() { swap core/src/owner.rs 'claims.act == self.act && claims.audience == self.at' 'claims.act == self.act'; }
break_take_the_owners_word_without_its_grant() {
    swap core/src/owner.rs 'claims.share == self.share && claims.credential_sha256 == sha256(self.credential.as_bytes())' 'claims.share == self.share'
}
break_take_a_delegation_from_anybody() { swap core/src/owner.rs ' && self.by == Some(tracker) && may_be' ' && may_be'; }
break_publish_in_the_place_of_adding() {
    swap src/tracker/store/replicas.rs 'known.map_or_else(|| chunks.clone(), |known| known.chunks.plus(chunks))' 'known.map_or_else(|| chunks.clone(), |_| chunks.clone())'
}
break_let_later_terms_undo_a_deletion() {
    swap src/tracker/store/sqlite.rs 'if gone(&mut transaction, terms.share).await?.is_some() {
            return Ok(false);' 'if false && gone(&mut transaction, terms.share).await?.is_some() {
            return Ok(false);'
}

break_take_a_receipt_of_another_share() { swap core/src/receipt.rs 'self.share != share || ' ''; }
break_take_a_receipt_for_another_manifest() { swap core/src/receipt.rs '|| self.manifest != manifest ' ''; }
break_take_a_receipt_in_the_name_of_another() {
    swap core/src/receipt.rs 'verified.map_err(|_| ReceiptError::Signature)' 'Ok(verified.unwrap_or(claimed))'
}
break_take_a_receipt_of_whom_the_grant_does_not_name() {
    swap src/tracker/shares.rs '|peer| granted.grant.peers.contains(&peer);' '|_| true;'
}
break_count_the_peers_and_not_the_receipts_of_each_chunk() {
    swap core/src/receipt.rs 'holders.values()).first_missing(0);' 'holders.values()).first_missing(0).filter(|_| false);'
}
break_sign_for_what_is_missing() { swap src/peer/storage/mod.rs 'missing.is_empty().then_some(receipt)' 'Some(receipt)'; }
break_call_safe_what_is_not_proved() { swap core/src/replica_sets.rs 'self.all_are(MemberState::Proven)' 'self.all_are(MemberState::Kept)'; }
break_take_the_owners_word_for_another_act() {
    swap core/src/owner.rs 'claims.act == self.act && claims.audience == self.at' 'claims.audience == self.at'
}
break_ask_no_owner() { swap src/server/extract.rs 'asked.check(&self.token).map_err(|_| denied())' 'asked.check(&self.token).or(Ok(()))'; }
break_count_one_holder_twice_for_a_drop() { swap core/src/parting.rs 'peers.collect::<BTreeSet<_>>().len()' 'peers.count()'; }
break_prove_for_a_drop_what_is_being_left() {
    swap core/src/parting.rs 'for id in chunks.iter().filter(|id| !self.leaving.contains(id)) {' 'for id in chunks {'
}
break_leave_what_was_promised() { swap core/src/parting.rs 'filter(|id| !is_kept(id))' 'filter(|id| !is_kept(id) || true)'; }
break_forget_promises_at_a_restart() {
    swap src/peer/parting.rs 'Parting::resume(PromiseFile::read(root).map_err(failed)?)' 'Parting::resume(PromiseFile::read(root).map_err(failed)?.into_iter().take(0))'
}
break_drop_on_the_trackers_word() { swap core/src/parting.rs 'by(id) >= usize::from(wanted)' 'by(id) > 0 || wanted > 0'; }
break_remove_at_once_what_was_let_go_of() {
    swap src/peer/storage/chunk_removal.rs '|entry| self.quarantine(id, entry, Quarantined::Surplus)' '|_| self.unlink(id)'
}
break_remove_what_others_have_not_proved_again() {
    swap src/peer/storage/chunk_removal.rs 'id.is_some_and(|id| kept.contains(&id))' 'id.is_some_and(|id| kept.contains(&id) && false)'
}
break_keep_what_a_failed_sync_was_for() { swap src/peer/storage/letting_go.rs 'self.mark_lost(&self.chunks.remove_unsynced())' 'self.mark_lost(&HashSet::new())'; }
break_go_on_with_a_damaged_manifest() { swap src/peer/storage/share_store.rs '&& self.mark_damaged(share)' '&& false'; }
break_answer_look_ups_before_it_is_known_what_is_held() {
    swap src/tracker/shares.rs 'self.settled_after.saturating_sub(' 'self.settled_after.saturating_sub(self.settled_after + '
}
break_let_earlier_terms_win_at_the_tracker() { swap src/tracker/store/sqlite.rs 'WHERE id = $1 AND terms_issued_ms < $3' 'WHERE id = $1 AND terms_issued_ms > $3'; }
break_take_the_terms_before_for_the_deletion() { swap src/tracker/store/sqlite.rs 'deletion.issued_ms == issued_ms)' 'deletion.issued_ms > 0 || issued_ms > 0)'; }
break_let_a_commit_bring_earlier_terms_back() { swap src/peer/storage/share_store.rs 'filter(|known| known.issued_ms > terms.issued_ms)' 'filter(|_| false)'; }
break_let_earlier_terms_win_at_a_peer() {
    swap src/peer/storage/share_store.rs 'known.is_none_or(|issued_ms| issued_ms >= terms.issued_ms)' 'known.is_none_or(|issued_ms| issued_ms < terms.issued_ms)'
}
break_take_links_that_lead_out() { swap core/src/links.rs 'if places.len() < 2 {' 'if false {'; }
break_share_more_than_permissions() { swap core/src/modes.rs 'PERMISSIONS: u32 = 0o777;' 'PERMISSIONS: u32 = 0o7777;'; }
break_create_over_what_is_there() { swap src/disk/dir.rs 'let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | NO_FOLLOW' 'let flags = OFlags::RDWR | OFlags::CREATE | NO_FOLLOW'; }
break_send_what_was_not_noted() { swap src/share/upload.rs 'if noted == id { Ok' 'if noted == id || true { Ok'; }
break_publish_what_was_written_anew() { swap src/share/upload.rs 'if ChunkId::of(&bytes) != before {' 'if false && ChunkId::of(&bytes) != before {'; }
break_go_on_with_what_anybody_may_have_written() { swap src/get/prepare.rs 'if before.trusted && is_trusted {' 'if before.trusted || is_trusted {'; }
break_replace_whatever_stands_there() { swap src/get/place.rs 'Some(FileType::RegularFile) if self.is_file && self.manner.force' 'Some(_) if self.is_file && self.manner.force'; }
break_sign_over_a_filled_hole() { swap src/share/upload.rs 'check_holes(file)?;' 'let _ = check_holes(file);'; }
break_believe_what_nobody_noted() {
    swap src/get/prepare.rs 'let there = output.present(&all, geometry);
        self.checked(output, &there)' 'let there = output.present(&all, geometry);
        Ok(Some((output, there)))'
}
break_leave_in_holes_what_others_wrote() { swap src/get/prepare.rs 'output.clear_holes().map_err(|error| self.failed(&error))?;' ''; }
break_let_names_wait_that_may_clash() { swap src/get/late.rs '&& are_plain(paths)' '&& (true || are_plain(paths))'; }
break_write_to_what_stands_where_a_file_is_created() {
    swap src/get/output/tree.rs 'let created = directory.create_file_with(name, entry.permissions() | PRIVATE_FILE);' 'let created = directory.create_file_with(name, entry.permissions() | PRIVATE_FILE).or_else(|_| directory.open_file(name));'
}
break_enter_a_folder_through_a_symlink() {
    swap src/disk/dir.rs 'Ok(Self(self.open_below(path, LOOK | OFlags::DIRECTORY | NO_FOLLOW, Mode::empty())?))' 'Ok(Self(openat(&self.0, path, LOOK | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into()))'
}
break_give_up_what_there_is_no_room_to_go_on_with() { swap src/get/prepare.rs 'failure if failure.kind == Kind::NoSpace => {' 'failure if false && failure.kind == Kind::NoSpace => {'; }
break_take_a_list_for_an_object() { swap core/src/tables.rs 'deserializer.deserialize_map(Fields(PhantomData))' 'T::deserialize(deserializer).map(Self)'; }
break_carry_out_half_an_order() {
    swap core/src/heartbeat.rs 'tag = "kind", rename_all = "lowercase", deny_unknown_fields' 'tag = "kind", rename_all = "lowercase"'
}
break_delete_what_is_published() {
    swap src/journal/upload.rs 'if directory.join(PUBLISHED).try_exists()? {' 'if false && directory.join(PUBLISHED).try_exists()? {'
}

echo "| mutant | noticed by |"
echo "|---|---|"
mutant acknowledge_before_sync --lib simulation
mutant skip_the_hash_check --lib peer::
mutant take_bytes_that_were_not_hashed --lib client::verified
mutant take_a_chunk_that_is_too_long --test distance too_long
mutant hide_a_worker_that_panicked --lib worker::
mutant keep_shares_waiting_for_ever --lib tracker::rotation
mutant show_no_failing_database --test dashboard who_listens
mutant acknowledge_at_one_replica -p parcelry-core
mutant rename_without_no_replace --lib --test resume --test local_user --test share_get --no-fail-fast
mutant no_last_chunk_flag -p parcelry-core
mutant pin_without_the_handshake_signature --test transport
mutant repair_from_an_unverified_copy --test durability rot
mutant count_the_dead -p parcelry-core
mutant repair_when_the_network_fails -p parcelry-core
mutant weigh_who_holds_nothing -p parcelry-core
mutant count_who_cannot_be_reached -p parcelry-core
mutant dead_because_the_own_way_out_fails -p parcelry-core
mutant take_two_machines_for_one -p parcelry-core
mutant take_a_part_for_an_inventory -p parcelry-core
mutant drop_what_is_needed -p parcelry-core
mutant make_surplus_of_claims -p parcelry-core
mutant call_claims_healthy -p parcelry-core
mutant drop_the_last_in_its_zone -p parcelry-core
mutant let_the_young_push_out_the_old -p parcelry-core
mutant drop_what_was_learnt_lately -p parcelry-core
mutant refute_by_silence --lib simulation
mutant count_many_proofs_as_one --test audits each_proof
mutant believe_any_proof --lib simulation
mutant count_words_for_ever -p parcelry-core
mutant let_claims_age_when_nobody_can_prove -p parcelry-core
mutant weigh_words --lib tracker
mutant count_what_nobody_ordered --lib tracker
mutant give_old_age_to_what_is_new -p parcelry-core
mutant believe_a_peers_own_zone -p parcelry-core
mutant let_a_wrong_clock_end_shares --lib agreement
mutant end_shares_by_the_clock_that_is_ahead --lib -- agreement whatever_a_seed
mutant forget_what_was_not_heard --lib outbox
mutant trust_an_unmounted_store --lib chunk_store
mutant keep_replicas_that_an_inventory_leaves_out --lib tracker
mutant a_commit_replaces --lib peer::storage::contention
mutant let_go_of_what_another_share_holds --lib peer::
mutant take_back_what_was_deleted --lib peer::storage::contention
mutant collect_what_no_mark_names --lib peer::storage::tests
mutant believe_a_list_without_its_checksum --lib peer::storage::records
mutant hear_of_no_take_down --lib simulation
mutant withhold_for_ever --lib simulation
mutant serve_what_was_taken_down --test take_down
mutant promise_what_no_sync_covers --lib peer::storage::tests
mutant remove_what_may_be_of_what_cannot_be_read --lib peer::storage::contention
mutant keep_beyond_the_quota --lib peer::storage::charges
mutant leave_uploads_uncharged --lib peer::storage::charges
mutant forget_at_a_restart_who_left_uploads --lib peer::storage::charges
mutant begin_a_share_anew_for_nothing --lib peer::storage::charges
mutant reserve_what_others_have_reserved_now --lib peer::storage::charges
mutant remember_deletions_for_nobody --lib tracker::quotas
mutant go_on_after_a_failed_sync --lib peer::storage::syncs
mutant share_a_sync_that_began_before --lib peer::storage::syncs
mutant take_the_owners_word_for_another_server -p parcelry-core owner
mutant take_the_owners_word_without_its_grant -p parcelry-core owner
mutant take_a_delegation_from_anybody -p parcelry-core owner
mutant publish_in_the_place_of_adding --lib tracker
mutant let_later_terms_undo_a_deletion --lib tracker
mutant take_a_receipt_of_another_share -p parcelry-core receipt
mutant take_a_receipt_for_another_manifest -p parcelry-core receipt
mutant take_a_receipt_in_the_name_of_another -p parcelry-core receipt
mutant count_the_peers_and_not_the_receipts_of_each_chunk -p parcelry-core receipt
mutant call_safe_what_is_not_proved -p parcelry-core
mutant take_the_owners_word_for_another_act -p parcelry-core owner
mutant count_one_holder_twice_for_a_drop -p parcelry-core parting
mutant prove_for_a_drop_what_is_being_left -p parcelry-core parting
mutant leave_what_was_promised -p parcelry-core parting
mutant drop_on_the_trackers_word -p parcelry-core parting
mutant forget_promises_at_a_restart --lib peer::parting
mutant remove_at_once_what_was_let_go_of --lib peer::
mutant remove_what_others_have_not_proved_again --lib peer::parting
mutant go_on_with_a_damaged_manifest --lib peer::storage::tests
mutant let_earlier_terms_win_at_a_peer --lib peer::storage::tests
mutant let_a_commit_bring_earlier_terms_back --lib peer::storage::tests
mutant let_earlier_terms_win_at_the_tracker --lib tracker
mutant take_the_terms_before_for_the_deletion --lib tracker::store
mutant keep_what_a_failed_sync_was_for --lib -- peer::storage::contention whatever_a_seed
mutant sign_for_what_is_missing --lib -- peer:: whatever_a_seed
mutant take_a_receipt_of_whom_the_grant_does_not_name --test receipts
mutant ask_no_owner --test foreign_sender
mutant answer_look_ups_before_it_is_known_what_is_held --test registration f50
mutant take_links_that_lead_out -p parcelry-core --lib links
mutant share_more_than_permissions -p parcelry-core --lib metadata
mutant create_over_what_is_there --lib disk::dir
mutant send_what_was_not_noted --lib -- share::upload
mutant publish_what_was_written_anew --lib -- share::upload
mutant go_on_with_what_anybody_may_have_written --test saving f36
mutant replace_whatever_stands_there --test saving f39
mutant sign_over_a_filled_hole --lib -- share::upload
mutant believe_what_nobody_noted --test targets f30
mutant leave_in_holes_what_others_wrote --test holes
mutant let_names_wait_that_may_clash --lib get::output::tree
mutant write_to_what_stands_where_a_file_is_created --lib get::output::tree
mutant enter_a_folder_through_a_symlink --lib get::output::tree
mutant give_up_what_there_is_no_room_to_go_on_with --test targets f30
mutant take_a_list_for_an_object -p parcelry-core --lib metadata
mutant carry_out_half_an_order -p parcelry-core --lib heartbeat
mutant delete_what_is_published --test partial f30
[ "$survivors" -eq 0 ] || { echo "$survivors mutants are not caught"; exit 1; }
