-- Shares that their owner deleted, or the operator took down, until no earlier terms of theirs can still run: they
-- never come back. `terms` is the owner's signed deletion; empty: the operator's word alone.
CREATE TABLE gone (
    share BLOB PRIMARY KEY NOT NULL,
    terms TEXT NOT NULL,
    until_ms INTEGER NOT NULL
);
CREATE INDEX gone_by_end ON gone (until_ms);
