-- Times are milliseconds since the Unix epoch, ids are the 32 bytes behind their text form.
CREATE TABLE peers (
    id BLOB PRIMARY KEY NOT NULL,
    registration TEXT NOT NULL -- JSON
);

CREATE TABLE shares (
    id BLOB PRIMARY KEY NOT NULL,
    manifest BLOB NOT NULL,
    terms TEXT NOT NULL,
    terms_issued_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE INDEX shares_by_expiry ON shares (expires_ms);

-- Which peer holds which chunks of a share, and the newest terms that it has confirmed.
CREATE TABLE replicas (
    share BLOB NOT NULL REFERENCES shares (id) ON DELETE CASCADE,
    peer BLOB NOT NULL,
    chunks TEXT NOT NULL,
    terms_issued_ms INTEGER NOT NULL,
    PRIMARY KEY (share, peer)
);
CREATE INDEX replicas_by_peer ON replicas (peer);
