-- What the maker of an invite allows by it, as JSON; what it does not say has the bounds that everybody has.
ALTER TABLE tokens ADD COLUMN allowance TEXT NOT NULL DEFAULT '{}';

-- Every peer that a token has ever admitted. Nothing is deleted here but with the token: the count never goes back.
CREATE TABLE admissions (
    token BLOB NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    peer BLOB NOT NULL,
    PRIMARY KEY (token, peer)
);
INSERT INTO admissions (token, peer) SELECT token, peer FROM members;
