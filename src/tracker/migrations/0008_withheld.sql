-- Whether a peer has said that it serves a share no more that the operator took down.
ALTER TABLE replicas ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;
-- The few that are the operator's word, among the many that their owners deleted.
CREATE INDEX gone_taken_down ON gone (share) WHERE terms = '';
