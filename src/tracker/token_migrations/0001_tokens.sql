-- Times are milliseconds since the Unix epoch. No token is here, only hashes.
CREATE TABLE tokens (
    id BLOB PRIMARY KEY NOT NULL, -- the first 8 bytes of the hash
    sha256 BLOB NOT NULL,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER, -- NULL: never
    revoked INTEGER NOT NULL
);

-- The peers that were admitted, and by which token.
CREATE TABLE members (
    peer BLOB PRIMARY KEY NOT NULL,
    token BLOB NOT NULL REFERENCES tokens (id)
);
