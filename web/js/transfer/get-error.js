// Why a share cannot be received, by a kind that the page has a text for.

export class GetError extends Error {
  /**
   * @param {string} kind a key of texts.get.problems
   * @param {unknown} [cause]
   * @param {string} [path] what it is about, where the name is to blame
   */
  constructor(kind, cause, path) {
    super(kind, { cause });
    this.name = "GetError";
    this.kind = kind;
    this.path = path;
  }
}
