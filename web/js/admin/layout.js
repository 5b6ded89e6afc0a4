// Where each peer stands on the map. Pure. Zones are boxes with cells of one size; a peer keeps its cell while it is
// there, whatever else joins, leaves or changes.

/**
 * @typedef {{ id: string, name: string, zone: string|null, capacity_bytes: number }} Placed
 * @typedef {{ name: string|null, x: number, y: number, width: number, height: number, columns: number,
 *   slots: (string|null)[] }} Zone
 * @typedef {{ x: number, y: number, radius: number }} Place
 * @typedef {{ width: number, height: number, cell: number, zones: Zone[], places: Map<string, Place> }} Layout
 */

const PAD = 10;
const GAP = 12;
/** Room for the zone's name. */
export const HEAD = 26;
/** Room for a peer's name below its circle, where the cells are large enough for one. */
export const LABEL = 16;
/** Cells this wide show names. */
export const LABEL_CELL = 64;
/** Sizes of a cell, largest first: steps, so that one peer more seldom moves all others. */
const CELLS = [84, 64, 48, 36, 28, 22, 18];
const ZONE_WIDTH_MIN = 96;
const AREA_PER_WIDTH = 420;
/** How much larger than needed a box may be before it shrinks. */
const SPARE = 1.4;
/** Smallest circle, as a part of the largest: no peer becomes a dot that cannot be seen. */
const RADIUS_MIN = 0.34;

/**
 * @param {Iterable<Placed>} peers
 * @param {number} width of the map, in the units of the view box
 * @param {Layout|null} earlier the layout before, whose cells are kept
 * @returns {Layout}
 */
export function layOut(peers, width, earlier) {
  const byZone = grouped(peers);
  const kept = new Map(earlier?.zones.map((zone) => [zone.name, zone.slots]) ?? []);
  const filled = [...byZone].map(([name, members]) => ({ name, slots: assign(members, kept.get(name) ?? []) }));
  const cell = cellSize(filled.reduce((sum, { slots }) => sum + slots.length, 0), width);
  /** @type {Zone[]} */
  const zones = [];
  let [x, y, shelf] = [0, 0, 0];
  for (const { name, slots } of filled) {
    const box = boxOf(slots.length, cell, width);
    if (x > 0 && x + box.width > width) [x, y, shelf] = [0, y + shelf + GAP, 0];
    zones.push({ name, x, y, ...box, slots });
    x += box.width + GAP;
    shelf = Math.max(shelf, box.height);
  }
  return { width, height: Math.max(1, y + shelf), cell, zones, places: placesOf(zones, cell, byZone) };
}

/**
 * Zones by name, those without one last; members by name.
 * @param {Iterable<Placed>} peers
 * @returns {Map<string|null, Placed[]>}
 */
function grouped(peers) {
  /** @type {Map<string|null, Placed[]>} */
  const zones = new Map();
  for (const peer of peers) {
    const members = zones.get(peer.zone);
    if (members) members.push(peer);
    else zones.set(peer.zone, [peer]);
  }
  const order = (/** @type {string} */ a, /** @type {string} */ b) => (a < b ? -1 : a > b ? 1 : 0);
  for (const members of zones.values()) members.sort((a, b) => order(a.name, b.name) || order(a.id, b.id));
  return new Map(
    [...zones].sort(([a], [b]) => Number(a === null) - Number(b === null) || order(a ?? "", b ?? "")),
  );
}

/**
 * The largest cell with which the map does not become too high.
 * @param {number} cells
 * @param {number} width
 */
function cellSize(cells, width) {
  const fits = (/** @type {number} */ cell) => cells * cell * heightOf(cell) <= width * AREA_PER_WIDTH;
  return CELLS.find(fits) ?? /** @type {number} */ (CELLS.at(-1));
}

/** @param {number} cell */
function heightOf(cell) {
  return cell >= LABEL_CELL ? cell + LABEL : cell;
}

/**
 * Cells of a zone with so many peers: in steps of an eighth and more, so that a box seldom changes its size.
 * @param {number} count
 */
export function roomFor(count) {
  if (count <= 8) return count;
  const step = 2 ** (Math.floor(Math.log2(count)) - 2);
  return Math.ceil(count / step) * step;
}

/**
 * Gives every member a cell: the one it had, or else the first free one.
 * @param {Placed[]} members
 * @param {readonly (string|null)[]} earlier
 * @returns {(string|null)[]}
 */
function assign(members, earlier) {
  const present = new Set(members.map((member) => member.id));
  const needed = roomFor(members.length);
  // A box that is a little too large stays: peers that come and go do not move the others.
  const isRoomy = earlier.length > needed && earlier.length <= needed * SPARE;
  /** @type {(string|null)[]} */
  const slots = new Array(isRoomy ? earlier.length : needed).fill(null);
  const placed = new Set();
  earlier.forEach((id, slot) => {
    if (id === null || !present.has(id) || slot >= slots.length) return;
    slots[slot] = id;
    placed.add(id);
  });
  let free = 0;
  for (const { id } of members) {
    if (placed.has(id)) continue;
    while (slots[free] !== null) free += 1;
    slots[free] = id;
  }
  return slots;
}

/**
 * @param {number} cells
 * @param {number} cell
 * @param {number} width
 */
function boxOf(cells, cell, width) {
  // About twice as wide as high at least, and then as wide as its part of the shelf.
  const natural = Math.max(ZONE_WIDTH_MIN, Math.ceil(Math.sqrt(cells * 2)) * cell + 2 * PAD);
  const beside = Math.max(1, Math.floor((width + GAP) / (natural + GAP)));
  const most = Math.floor(((width + GAP) / beside - GAP - 2 * PAD) / cell);
  const columns = Math.min(cells, Math.max(1, most));
  const rows = Math.ceil(cells / columns);
  return {
    columns,
    width: Math.min(width, Math.max(ZONE_WIDTH_MIN, columns * cell + 2 * PAD)),
    height: HEAD + rows * heightOf(cell) + PAD,
  };
}

/**
 * @param {Zone[]} zones
 * @param {number} cell
 * @param {Map<string|null, Placed[]>} byZone
 */
function placesOf(zones, cell, byZone) {
  let largest = 1;
  for (const members of byZone.values())
    for (const { capacity_bytes } of members) largest = Math.max(largest, capacity_bytes);
  /** @type {Map<string, Place>} */
  const places = new Map();
  for (const zone of zones) {
    const capacities = new Map(byZone.get(zone.name)?.map((member) => [member.id, member.capacity_bytes]));
    zone.slots.forEach((id, slot) => {
      if (id === null) return;
      places.set(id, {
        x: zone.x + PAD + ((slot % zone.columns) + 0.5) * cell,
        y: zone.y + HEAD + Math.floor(slot / zone.columns) * heightOf(cell) + cell / 2,
        radius: radiusOf(capacities.get(id) ?? 0, largest, cell),
      });
    });
  }
  return places;
}

/**
 * The area is as the capacity.
 * @param {number} capacity
 * @param {number} largest
 * @param {number} cell
 */
function radiusOf(capacity, largest, cell) {
  const most = cell * 0.43; // Less than half: circles in cells beside each other do not touch.
  return most * Math.min(1, Math.max(RADIUS_MIN, Math.sqrt(Math.max(0, capacity) / largest)));
}

/**
 * The next peer for an arrow key: along the cells of a zone, or on to the zone beside it.
 * @param {Layout} layout
 * @param {string} id
 * @param {"ArrowLeft"|"ArrowRight"|"ArrowUp"|"ArrowDown"|"Home"|"End"} key
 * @returns {string|null}
 */
export function neighbour(layout, id, key) {
  const ids = [...layout.places.keys()];
  const at = layout.places.get(id);
  if (!at || key === "Home" || key === "End") return ids.at(key === "End" ? -1 : 0) ?? null;
  if (key === "ArrowLeft" || key === "ArrowRight")
    return ids[ids.indexOf(id) + (key === "ArrowRight" ? 1 : -1)] ?? null;
  const down = key === "ArrowDown" ? 1 : -1;
  /** @type {string|null} */
  let best = null;
  let least = Infinity;
  for (const [other, place] of layout.places) {
    const dy = (place.y - at.y) * down;
    // Rows first, then columns: what is nearly below is better than what is near and aside.
    const distance = dy + 3 * Math.abs(place.x - at.x);
    if (dy > 1 && distance < least) [best, least] = [other, distance];
  }
  return best;
}
