-- Whether a peer lacks the newest terms of a share that it holds, so that a heartbeat costs no look at all that its peer
-- holds.
ALTER TABLE replicas ADD COLUMN untold INTEGER NOT NULL DEFAULT 1;
UPDATE replicas SET untold = terms_issued_ms < (SELECT terms_issued_ms FROM shares WHERE id = share);
CREATE INDEX replicas_untold ON replicas (peer, share) WHERE untold = 1;

CREATE TRIGGER replica_is_new AFTER INSERT ON replicas BEGIN
    UPDATE replicas SET untold = NEW.terms_issued_ms < (SELECT terms_issued_ms FROM shares WHERE id = NEW.share)
    WHERE share = NEW.share AND peer = NEW.peer;
END;
CREATE TRIGGER replica_is_told AFTER UPDATE OF terms_issued_ms ON replicas BEGIN
    UPDATE replicas SET untold = NEW.terms_issued_ms < (SELECT terms_issued_ms FROM shares WHERE id = NEW.share)
    WHERE share = NEW.share AND peer = NEW.peer;
END;
CREATE TRIGGER terms_are_new AFTER UPDATE OF terms_issued_ms ON shares BEGIN
    UPDATE replicas SET untold = terms_issued_ms < NEW.terms_issued_ms WHERE share = NEW.id;
END;
