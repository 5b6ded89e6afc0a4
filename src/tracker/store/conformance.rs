//! What every store must do, whatever it is built on.

use parcelry_core::api::ShareChunks;
use parcelry_core::audit::Record;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{ChunkId, PeerId, RunId, Secret, ShareId};
use parcelry_core::manifest::{MANIFEST_HEAD_BYTES, ShareKey};
use parcelry_core::quota::Charged;
use parcelry_core::registry::Registration;
use parcelry_core::terms::{SignedTerms, Terms};
use parcelry_core::token::TokenId;

use super::{Gone, InventoryPage, Published, Reconciled, Replica, Store};

/// Runs the whole suite on an empty store.
pub(super) async fn run(store: &dyn Store) {
    peers_are_kept_replaced_and_forgotten(store).await;
    the_first_manifest_is_final(store).await;
    the_newest_terms_win(store).await;
    terms_reach_the_peers_that_lack_them(store).await;
    expired_shares_are_forgotten_with_their_replicas(store).await;
    lost_chunks_are_taken_off_one_replica(store).await;
    a_share_that_was_taken_down_stays_down(store).await;
    a_deletion_is_final_whatever_comes_after_it(store).await;
    what_is_published_only_adds_to_who_holds_what(store).await;
    a_peer_that_tells_what_it_holds_counts_and_learns_the_newest_terms(store).await;
    what_an_inventory_leaves_out_is_no_longer_held(store).await;
    copied_chunks_are_added_to_what_a_peer_holds(store).await;
    what_nobody_ordered_is_held_when_it_is_proven(store).await;
    draining_outlives_a_registration(store).await;
    shares_are_charged_to_tokens_until_they_are_over(store).await;
    proofs_are_kept_with_the_time_that_the_tracker_has_run(store).await;
}

pub(in crate::tracker) fn registration(number: u8) -> Registration {
    Registration {
        id: peer(number),
        run: RunId::from_bytes([number; 16]),
        name: format!("peer{number}"),
        addresses: vec!["127.0.0.1:1".parse().unwrap()],
        port: Some(1),
        capacity_bytes: u64::MAX,
        zone: Some("attic".into()),
        zone_is_given: true,
        version: "1".into(),
        token: None,
    }
}

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

fn key(number: u8) -> ShareKey {
    ShareKey::from_seed(&Secret::from_bytes([number; 32]))
}

fn terms(number: u8, issued_ms: u64, expires_ms: u64) -> SignedTerms {
    let share = key(number).share_id();
    let terms = Terms { share, issued_ms, expires_ms, replicas: 2, access_sha256: [0; 32], deleted: false };
    SignedTerms::sign(&key(number), terms)
}

fn deletion(number: u8, issued_ms: u64) -> SignedTerms {
    let terms = terms(number, issued_ms, 1000);
    SignedTerms::sign(&key(number), Terms { deleted: true, ..*terms })
}

async fn peers_are_kept_replaced_and_forgotten(store: &dyn Store) {
    store.put_peer(&registration(1)).await.unwrap();
    store.put_peer(&registration(2)).await.unwrap();
    let renamed = Registration { name: "new".into(), ..registration(1) };
    store.put_peer(&renamed).await.unwrap();
    assert_eq!(store.peers().await.unwrap(), [renamed, registration(2)]);
    store.delete_peer(peer(1)).await.unwrap();
    assert_eq!(store.peers().await.unwrap(), [registration(2)]);
}

async fn proofs_are_kept_with_the_time_that_the_tracker_has_run(store: &dyn Store) {
    let terms = terms(40, 1, 1000);
    let share = terms.share;
    let mut manifest = vec![0; MANIFEST_HEAD_BYTES];
    manifest.extend([[7; 32], [8; 32], [9; 32]].concat());
    manifest.extend([1; 64]);
    let placement = [(peer(1), ChunkSet::range(3, 1..3)), (peer(2), ChunkSet::full(3))];
    store.publish(&manifest, &terms, &placement).await.unwrap();
    let [first, second] = [0, 1].map(|nth| ChunkSet::full(3).nth(nth).unwrap());
    let id = store.chunk_id(share, second).await.unwrap();
    assert_eq!(id, Some(ChunkId::from_bytes([8; 32])));
    // Computed the first time, read the second.
    for _ in 0..2 {
        assert_eq!(store.digest(share).await.unwrap(), Some(ChunkId::of(&manifest)));
    }
    assert_eq!(store.held(peer(1), share).await.unwrap(), Some(Replica::of(ChunkSet::range(3, 1..3))));
    assert_eq!(store.held(peer(3), share).await.unwrap(), None);
    let unknown = key(41).share_id();
    assert_eq!(store.digest(unknown).await.unwrap(), None);
    assert_eq!(store.chunk_id(unknown, first).await.unwrap(), None);

    assert_eq!((store.proofs(share).await.unwrap(), store.lived_ms().await.unwrap()), (Vec::new(), 0));
    let record = Record { since_ms: 1, steady_ms: 2, proven_ms: 3 };
    let proofs = [(peer(1), share, Some(record)), (peer(3), share, Some(record)), (peer(1), unknown, None)];
    store.save_proofs(&proofs, 500).await.unwrap();
    store.add_chunks(peer(1), share, &ChunkSet::full(3)).await.unwrap();
    assert_eq!(store.proofs(share).await.unwrap(), [(peer(1), record)], "of holders only");
    store.save_proofs(&[(peer(1), share, None)], 400).await.unwrap();
    assert_eq!(store.proofs(share).await.unwrap(), []);
    assert_eq!(store.lived_ms().await.unwrap(), 500, "time does not go back");
    assert_eq!(store.share(share).await.unwrap().unwrap().learnt_ms, None);
    store.note_learnt(share, 700).await.unwrap();
    store.note_learnt(share, 900).await.unwrap();
    assert_eq!(store.share(share).await.unwrap().unwrap().learnt_ms, Some(700));
}

async fn the_first_manifest_is_final(store: &dyn Store) {
    let terms = terms(10, 1, 1000);
    let placement = [(peer(1), ChunkSet::full(3)), (peer(2), ChunkSet::range(3, 1..2))];
    assert_eq!(store.share(terms.share).await.unwrap(), None);
    for _ in 0..2 {
        let published = store.publish(b"first", &terms, &placement).await.unwrap();
        assert_eq!(published, Published::Done, "the same again is no conflict");
    }
    let other = store.publish(b"other", &terms, &[(peer(3), ChunkSet::full(3))]).await.unwrap();
    assert_eq!(other, Published::OtherManifest);
    let stored = store.share(terms.share).await.unwrap().unwrap();
    assert_eq!((stored.manifest_bytes, stored.terms), (5, terms.token.clone()));
    assert_eq!(store.manifest(terms.share).await.unwrap(), Some(b"first".to_vec()));
    assert_eq!(store.holders(terms.share).await.unwrap(), placement);
}

async fn the_newest_terms_win(store: &dyn Store) {
    let share = key(11).share_id();
    store.publish(b"manifest", &terms(11, 10, 1000), &[]).await.unwrap();
    assert!(store.put_terms(&terms(11, 20, 2000)).await.unwrap());
    assert!(!store.put_terms(&terms(11, 20, 3000)).await.unwrap(), "a replay");
    assert!(!store.put_terms(&terms(11, 15, 3000)).await.unwrap(), "older terms");
    store.publish(b"manifest", &terms(11, 10, 1000), &[]).await.unwrap();
    assert_eq!(store.share(share).await.unwrap().unwrap().terms, terms(11, 20, 2000).token);
    assert!(!store.put_terms(&terms(99, 1, 1)).await.unwrap(), "terms of an unknown share");
}

async fn terms_reach_the_peers_that_lack_them(store: &dyn Store) {
    let share = key(12).share_id();
    store.publish(b"manifest", &terms(12, 10, 1000), &[(peer(5), ChunkSet::full(1))]).await.unwrap();
    assert_eq!(store.unconfirmed_terms(peer(5), 9).await.unwrap(), []);
    let newer = terms(12, 20, 2000);
    store.put_terms(&newer).await.unwrap();
    assert_eq!(store.unconfirmed_terms(peer(5), 9).await.unwrap(), [(share, newer.token)]);
    assert_eq!(store.unconfirmed_terms(peer(6), 9).await.unwrap(), []);
    assert_eq!(store.unconfirmed_terms(peer(5), 0).await.unwrap(), []);
    store.confirm_terms(peer(5), share, 20).await.unwrap();
    assert_eq!(store.unconfirmed_terms(peer(5), 9).await.unwrap(), []);
}

async fn expired_shares_are_forgotten_with_their_replicas(store: &dyn Store) {
    let share = key(13).share_id();
    let before = store.share_count().await.unwrap();
    store.publish(b"manifest", &terms(13, 1, 500), &[(peer(5), ChunkSet::full(1))]).await.unwrap();
    assert_eq!(store.share_count().await.unwrap(), before + 1);
    assert_eq!(store.expired_between(500, 501, 9).await.unwrap(), [share]);
    assert_eq!(store.expired_between(499, 500, 9).await.unwrap(), []);
    assert_eq!(store.expired_between(500, 501, 0).await.unwrap(), []);
    assert_eq!(store.forget_expired(500, 0).await.unwrap(), 0);
    assert_eq!(store.forget_expired(501, 0).await.unwrap(), 1);
    assert_eq!(store.share(share).await.unwrap(), None);
    assert_eq!(store.holders(share).await.unwrap(), []);
}

async fn lost_chunks_are_taken_off_one_replica(store: &dyn Store) {
    let share = key(14).share_id();
    let both = [(peer(1), ChunkSet::full(3)), (peer(2), ChunkSet::full(3))];
    store.publish(b"manifest", &terms(14, 1, 1000), &both).await.unwrap();
    store.remove_chunks(peer(1), share, &ChunkSet::range(3, 1..2), true).await.unwrap();
    store.remove_chunks(peer(2), share, &ChunkSet::full(4), true).await.unwrap();
    store.remove_chunks(peer(9), share, &ChunkSet::full(3), true).await.unwrap();
    let left = ChunkSet::full(3).minus(&ChunkSet::range(3, 1..2));
    assert_eq!(store.holders(share).await.unwrap(), [(peer(1), left), (peer(2), ChunkSet::full(3))]);
}

async fn a_share_that_was_taken_down_stays_down(store: &dyn Store) {
    let share = key(15).share_id();
    assert!(!store.take_down(share, 9000).await.unwrap(), "an unknown share");
    let manifest = [7; MANIFEST_HEAD_BYTES + 500];
    let placement = [(peer(1), ChunkSet::full(3))];
    assert_eq!(store.publish(&manifest, &terms(15, 1, 1000), &placement).await.unwrap(), Published::Done);
    assert_eq!(store.to_withhold(peer(1), 9).await.unwrap(), []);
    for _ in 0..2 {
        assert!(store.take_down(share, 9000).await.unwrap());
        assert!(store.share(share).await.unwrap().unwrap().taken_down);
        assert_eq!(store.gone(share).await.unwrap(), Some(Gone::TakenDown));
        let again = store.publish(&manifest, &terms(15, 5, 5000), &[]).await.unwrap();
        assert_eq!(again, Published::Gone);
        assert!(!store.put_terms(&terms(15, 6, 6000)).await.unwrap());
    }
    let left = store.share(share).await.unwrap().unwrap().manifest_bytes;
    assert_eq!(left, MANIFEST_HEAD_BYTES as u64, "the disk is free again");
    who_holds_what_was_taken_down_is_told_until_it_says_that_it_knows(store, share).await;
    store.forget_expired(5001, 8999).await.unwrap();
    assert_eq!(store.share(share).await.unwrap(), None);
    assert_eq!(store.gone(share).await.unwrap(), Some(Gone::TakenDown), "earlier terms may still run");
    store.forget_expired(5001, 9001).await.unwrap();
    assert_eq!(store.gone(share).await.unwrap(), None);
}

async fn who_holds_what_was_taken_down_is_told_until_it_says_that_it_knows(
    store: &dyn Store,
    share: ShareId,
) {
    for _ in 0..2 {
        assert_eq!(store.to_withhold(peer(1), 9).await.unwrap(), [share]);
    }
    assert_eq!(store.to_withhold(peer(1), 0).await.unwrap(), []);
    assert_eq!(store.to_withhold(peer(2), 9).await.unwrap(), [], "it holds nothing");
    store.confirm_withheld(peer(1), share).await.unwrap();
    assert_eq!(store.to_withhold(peer(1), 9).await.unwrap(), []);
    store.add_chunks(peer(1), share, &ChunkSet::full(3)).await.unwrap();
    assert_eq!(store.to_withhold(peer(1), 9).await.unwrap(), [share], "it may have copied it anew");
    let other = ShareChunks { share: key(77).share_id(), chunks: ChunkSet::full(3) };
    let mut held = [ShareChunks { share, chunks: ChunkSet::full(3) }, other];
    held.sort_by_key(|held| held.share);
    for peer in [peer(1), peer(3)] {
        let page = InventoryPage { shares: &held, after: None, last: true };
        assert_eq!(store.reconcile(peer, page).await.unwrap().withheld, [share], "known of it or not");
    }
}

async fn a_deletion_is_final_whatever_comes_after_it(store: &dyn Store) {
    let (share, unknown) = (key(18).share_id(), key(19).share_id());
    let placement = [(peer(5), ChunkSet::full(1)), (peer(6), ChunkSet::full(1))];
    store.publish(b"manifest", &terms(18, 10, 1000), &placement).await.unwrap();
    // Terms that were issued later are known already: it is final all the same.
    assert!(store.put_terms(&terms(18, 30, 2000)).await.unwrap());
    store.confirm_terms(peer(5), share, 30).await.unwrap();
    let token = TokenId::from_bytes([18; 8]);
    for (number, share) in [(18, share), (19, unknown)] {
        let deletion = deletion(number, 20);
        assert!(store.put_deletion(&deletion, 9000, Some(token)).await.unwrap());
        assert!(!store.put_deletion(&deletion, 9000, None).await.unwrap(), "it is known");
        assert_eq!(store.gone(share).await.unwrap(), Some(Gone::Deleted(deletion.token.clone())));
        let again = store.publish(b"manifest", &terms(number, 40, 5000), &placement).await.unwrap();
        assert_eq!(again, Published::Gone);
        assert!(!store.put_terms(&terms(number, 50, 5000)).await.unwrap());
        let held = ShareChunks { share, chunks: ChunkSet::full(1) };
        let page = InventoryPage { shares: &[held], after: None, last: true };
        let told = store.reconcile(peer(7), page).await.unwrap();
        assert_eq!(told.deleted, [(share, deletion.token.clone())], "whoever still holds it hears of it");
    }
    assert_eq!(store.charged_deletions(token).await.unwrap(), 2);
    assert_eq!(store.charged_deletions(TokenId::from_bytes([19; 8])).await.unwrap(), 0);
    let sent = [(share, deletion(18, 20).token)];
    for number in [5, 6] {
        assert_eq!(
            store.unconfirmed_terms(peer(number), 9).await.unwrap(),
            sent,
            "it is sent to all holders"
        );
        // What a peer says of the terms before was on its way when the share was deleted.
        store.confirm_terms(peer(number), share, 30).await.unwrap();
        assert_eq!(store.unconfirmed_terms(peer(number), 9).await.unwrap(), sent, "it does not know yet");
        store.confirm_terms(peer(number), share, 20).await.unwrap();
        assert_eq!(store.unconfirmed_terms(peer(number), 9).await.unwrap(), []);
    }
    assert_eq!(store.holders(share).await.unwrap(), []);
}

async fn what_is_published_only_adds_to_who_holds_what(store: &dyn Store) {
    let share = key(20).share_id();
    let full = [(peer(1), ChunkSet::full(3))];
    store.publish(b"manifest", &terms(20, 1, 1000), &full).await.unwrap();
    let nothing = [(peer(1), ChunkSet::empty(3)), (peer(2), ChunkSet::range(3, 0..1))];
    store.publish(b"manifest", &terms(20, 1, 1000), &nothing).await.unwrap();
    let all = [(peer(1), ChunkSet::full(3)), (peer(2), ChunkSet::range(3, 0..1))];
    assert_eq!(store.holders(share).await.unwrap(), all);
}

async fn a_peer_that_tells_what_it_holds_counts_and_learns_the_newest_terms(store: &dyn Store) {
    let share = key(16).share_id();
    let tell = async |chunks: ChunkSet| {
        let page = InventoryPage { shares: &[ShareChunks { share, chunks }], after: None, last: true };
        store.reconcile(peer(7), page).await.unwrap()
    };
    assert_eq!(tell(ChunkSet::full(3)).await, Reconciled { unknown: vec![share], ..Reconciled::default() });
    let newest = terms(16, 5, 1000);
    store.publish(b"manifest", &newest, &[]).await.unwrap();
    for chunks in [ChunkSet::full(3), ChunkSet::range(3, 0..2)] {
        assert_eq!(tell(chunks.clone()).await.changed, [share]);
        assert_eq!(tell(chunks.clone()).await, Reconciled::default());
        assert_eq!(store.holders(share).await.unwrap(), [(peer(7), chunks)]);
    }
    assert_eq!(store.unconfirmed_terms(peer(7), 9).await.unwrap(), [(share, newest.token)]);
}

async fn what_an_inventory_leaves_out_is_no_longer_held(store: &dyn Store) {
    let mut ids: Vec<_> = (30..36).map(|number| (key(number).share_id(), number)).collect();
    ids.sort();
    for (_, number) in &ids {
        let placement = [(peer(8), ChunkSet::full(2)), (peer(9), ChunkSet::full(2))];
        store.publish(b"manifest", &terms(*number, 1, 1000), &placement).await.unwrap();
    }
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|position| ids[position].0);
    let page = |held: &[ShareId]| -> Vec<ShareChunks> {
        held.iter().map(|&share| ShareChunks { share, chunks: ChunkSet::full(2) }).collect()
    };
    let first = InventoryPage { shares: &page(&[a, c]), after: None, last: false };
    assert_eq!(store.reconcile(peer(8), first).await.unwrap().changed, [b], "up to the last of the page");
    assert_eq!(store.shares_of(peer(8)).await.unwrap(), [a, c, d, e, f]);
    let rest = InventoryPage { shares: &page(&[e]), after: Some(c), last: true };
    assert_eq!(store.reconcile(peer(8), rest).await.unwrap().changed, [d, f]);
    assert_eq!(store.shares_of(peer(8)).await.unwrap(), [a, c, e]);
    assert_eq!(store.shares_of(peer(9)).await.unwrap().len(), 6, "another peer's replicas");
    assert!(store.all_holders().await.unwrap().contains(&peer(9)));
    let nothing = InventoryPage { shares: &[], after: None, last: true };
    assert_eq!(store.reconcile(peer(8), nothing).await.unwrap().changed, [a, c, e]);
    let all = store.shares_after(None, 1000).await.unwrap();
    assert_eq!(store.shares_after(Some(all[1]), 2).await.unwrap(), all[2..4]);
}

async fn what_nobody_ordered_is_held_when_it_is_proven(store: &dyn Store) {
    let share = key(45).share_id();
    let part = |range| ChunkSet::range(9, range);
    assert!(!store.add_bare(peer(60), share, &part(0..1)).await.unwrap(), "an unknown share");
    store.publish(b"manifest", &terms(45, 1, 1000), &[(peer(60), part(0..3))]).await.unwrap();
    let record = Record { since_ms: 1, steady_ms: 1, proven_ms: 1 };
    store.save_proofs(&[(peer(60), share, Some(record))], 0).await.unwrap();
    for is_new in [true, false] {
        assert_eq!(store.add_bare(peer(60), share, &part(2..5)).await.unwrap(), is_new);
    }
    let held = async |chunks, bare| {
        assert_eq!(store.holders(share).await.unwrap(), [(peer(60), part(chunks))]);
        assert_eq!(store.held(peer(60), share).await.unwrap().unwrap().bare, part(bare));
    };
    held(0..3, 3..5).await;
    // Telling it once more makes no difference, telling less does.
    for (told, chunks, bare) in [(0..6, 0..3, 3..6), (1..5, 1..3, 3..5)] {
        let shares = [ShareChunks { share, chunks: part(told) }];
        let page = InventoryPage { shares: &shares, after: None, last: false };
        assert_eq!(store.reconcile(peer(60), page).await.unwrap().changed, [share]);
        assert_eq!(store.reconcile(peer(60), page).await.unwrap().changed, []);
        held(chunks, bare).await;
    }
    store.remove_chunks(peer(60), share, &part(4..9), false).await.unwrap();
    held(1..3, 3..4).await;
    store.add_chunks(peer(60), share, &part(3..4)).await.unwrap();
    held(1..4, 0..0).await;
}

async fn copied_chunks_are_added_to_what_a_peer_holds(store: &dyn Store) {
    let share = key(17).share_id();
    store.add_chunks(peer(1), share, &ChunkSet::full(3)).await.unwrap();
    assert_eq!(store.holders(share).await.unwrap(), [], "an unknown share");
    store.publish(b"manifest", &terms(17, 1, 1000), &[]).await.unwrap();
    store.add_chunks(peer(1), share, &ChunkSet::range(3, 0..1)).await.unwrap();
    store.confirm_terms(peer(1), share, 1).await.unwrap();
    store.add_chunks(peer(1), share, &ChunkSet::range(3, 1..2)).await.unwrap();
    let newest = store.unconfirmed_terms(peer(1), 9).await.unwrap();
    assert_eq!(newest.len(), 1, "with the copy came the terms of its source");
    assert_eq!(store.holders(share).await.unwrap(), [(peer(1), ChunkSet::range(3, 0..2))]);
    store.remove_chunks(peer(1), share, &ChunkSet::full(3), false).await.unwrap();
    assert_eq!(store.holders(share).await.unwrap(), [(peer(1), ChunkSet::empty(3))]);
    store.remove_chunks(peer(1), share, &ChunkSet::full(3), true).await.unwrap();
    assert_eq!(store.holders(share).await.unwrap(), []);
}

async fn draining_outlives_a_registration(store: &dyn Store) {
    store.put_peer(&registration(3)).await.unwrap();
    for _ in 0..2 {
        store.set_draining(peer(3), true).await.unwrap();
    }
    store.delete_peer(peer(3)).await.unwrap();
    assert_eq!(store.draining().await.unwrap(), [peer(3)]);
    store.set_draining(peer(3), false).await.unwrap();
    assert_eq!(store.draining().await.unwrap(), []);
}

async fn shares_are_charged_to_tokens_until_they_are_over(store: &dyn Store) {
    let token = |number| TokenId::from_bytes([number; 8]);
    let none = None;
    for (number, expires_ms) in [(91, 1000), (92, 2000)] {
        let terms = terms(number, 1, expires_ms);
        store.publish(b"manifest", &terms, &[]).await.unwrap();
        assert_eq!(store.charged_to(terms.share).await.unwrap(), None);
        store.charge(terms.share, token(1), 70).await.unwrap();
        assert_eq!(store.charged_to(terms.share).await.unwrap(), Some(token(1)));
    }
    let charged = |bytes, shares| Charged { bytes, shares, manifest_bytes: shares * 8, uploads: 0 };
    assert_eq!(store.charged(token(1), none, 0).await.unwrap(), charged(140, 2));
    assert_eq!(store.charged(token(1), none, 1000).await.unwrap(), charged(70, 2));
    let first = terms(91, 1, 1000).share;
    assert_eq!(store.charged(token(1), Some(first), 0).await.unwrap(), charged(70, 1));
    store.charge(first, token(2), 5).await.unwrap();
    assert_eq!(store.charged(token(1), none, 0).await.unwrap(), charged(70, 1));
    assert_eq!(store.charged(token(2), none, 0).await.unwrap(), charged(5, 1));
}
